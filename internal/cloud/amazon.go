package cloud

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// ecrHost is a private registry: account.dkr.ecr.region.amazonaws.com, with -fips, in China, or of the dual-stack kind.
var ecrHost = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[0-9]{12}\.dkr[.-]ecr(-fips)?\.([a-z0-9-]+)\.(amazonaws\.com|amazonaws\.com\.cn|on\.aws)$`)
})

// amazon is the lookup of an ECR registry, nil for others'.
func (k *Keychain) amazon(host string) lookup {
	s := ecrService{name: "ecr-public", region: "us-east-1", domain: "amazonaws.com", target: "SpencerFrontendService.GetAuthorizationToken"}
	s.host = "api.ecr-public.us-east-1.amazonaws.com"
	if host != "public.ecr.aws" && host != "ecr-public.aws.com" {
		m := ecrHost().FindStringSubmatch(host)
		if m == nil {
			return nil
		}
		s = ecrService{name: "ecr", region: m[2], domain: m[3], target: "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"}
		switch {
		case m[3] == "on.aws":
			s.host, s.domain = "ecr"+m[1]+"."+m[2]+".api.aws", "amazonaws.com"
		case m[1] != "":
			s.host = "ecr-fips." + m[2] + "." + m[3]
		default:
			s.host = "api.ecr." + m[2] + "." + m[3]
		}
	}
	return func(ctx context.Context) (Login, time.Time, error) { return k.amazonLogin(ctx, s) }
}

// An ecrService is where a registry's tokens come from. A token is good for every registry that the caller may use.
type ecrService struct{ name, region, domain, host, target string }

type ecrToken struct {
	AuthorizationToken string  `json:"authorizationToken"`
	ExpiresAt          float64 `json:"expiresAt"`
}

func (k *Keychain) amazonLogin(ctx context.Context, s ecrService) (Login, time.Time, error) {
	none := Login{}
	creds, err := k.amazonCredentials(ctx, s)
	if err != nil {
		return none, time.Time{}, fmt.Errorf("credentials of Amazon: %w", err)
	}
	body := []byte("{}")
	r, err := post("https://"+s.host+"/", "application/x-amz-json-1.1", body)
	if err != nil {
		return none, time.Time{}, err
	}
	r.Header.Set("X-Amz-Target", s.target)
	sign(r, body, creds, s.name, s.region, k.now())
	var private struct{ AuthorizationData []ecrToken }
	var public struct{ AuthorizationData ecrToken }
	if s.name == "ecr" {
		err = k.ask(ctx, r, &private)
	} else {
		err = k.ask(ctx, r, &public)
		private.AuthorizationData = []ecrToken{public.AuthorizationData}
	}
	if err != nil {
		return none, time.Time{}, fmt.Errorf("get a token of Amazon ECR: %w", err)
	}
	if len(private.AuthorizationData) == 0 {
		return none, time.Time{}, errors.New("get a token of Amazon ECR: an answer without a token")
	}
	t := private.AuthorizationData[0]
	b, err := base64.StdEncoding.DecodeString(t.AuthorizationToken)
	user, password, ok := strings.Cut(string(b), ":")
	if err != nil || !ok {
		return none, time.Time{}, errors.New("get a token of Amazon ECR: its token is not user:password")
	}
	return Login{Username: user, Password: password}, k.expiry(time.Unix(int64(t.ExpiresAt), 0), 12*time.Hour), nil
}

// expiry is the time at which something ends, but at most limit from now; what says no time lasts for an hour.
func (k *Keychain) expiry(at time.Time, limit time.Duration) time.Time {
	now := k.now()
	if at.Unix() <= 0 {
		return now.Add(time.Hour)
	}
	if at.Sub(now) > limit {
		return now.Add(limit)
	}
	return at
}

// awsCredentials sign requests.
type awsCredentials struct{ id, secret, session string }

// sign adds Amazon's signature, version 4, over all headers and the body. The URL has no query.
func sign(r *http.Request, body []byte, c awsCredentials, service, region string, now time.Time) {
	stamp := now.UTC().Format("20060102T150405Z")
	r.Header.Set("X-Amz-Date", stamp)
	if c.session != "" {
		r.Header.Set("X-Amz-Security-Token", c.session)
	}
	headers := map[string]string{"host": r.URL.Host}
	for name := range r.Header {
		headers[strings.ToLower(name)] = strings.TrimSpace(r.Header.Get(name))
	}
	names := slices.Sorted(maps.Keys(headers))
	var canonical strings.Builder
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	canonical.WriteString(r.Method + "\n" + path + "\n\n")
	for _, n := range names {
		canonical.WriteString(n + ":" + headers[n] + "\n")
	}
	signed := strings.Join(names, ";")
	canonical.WriteString("\n" + signed + "\n" + hexSum(body))

	scope := strings.Join([]string{stamp[:8], region, service, "aws4_request"}, "/")
	text := "AWS4-HMAC-SHA256\n" + stamp + "\n" + scope + "\n" + hexSum([]byte(canonical.String()))
	key := []byte("AWS4" + c.secret)
	for part := range strings.SplitSeq(scope, "/") {
		key = keyed(key, part)
	}
	r.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%x", c.id, scope, signed, keyed(key, text)))
}

func keyed(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func hexSum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}
