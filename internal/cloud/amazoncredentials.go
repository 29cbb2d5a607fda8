package cloud

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
)

// amazonCredentials looks where Amazon's own tools look, in their order: variables, a web identity (EKS), the shared
// credentials file, a container's endpoint (ECS, EKS), the instance's role (EC2). What takes a browser or another
// program (SSO, credential_process) is left to docker's credential helpers.
func (k *Keychain) amazonCredentials(ctx context.Context, s ecrService) (awsCredentials, error) {
	if id, secret := k.env("AWS_ACCESS_KEY_ID"), k.env("AWS_SECRET_ACCESS_KEY"); id != "" && secret != "" {
		return awsCredentials{id, secret, k.env("AWS_SESSION_TOKEN")}, nil
	}
	for _, from := range []func(context.Context, ecrService) (awsCredentials, error){
		k.amazonWebIdentity, k.amazonProfile, k.amazonContainer, k.amazonInstance,
	} {
		if c, err := from(ctx, s); !errors.Is(err, errNone) {
			return c, err
		}
	}
	return awsCredentials{}, errNone
}

// amazonAnswer is how Amazon's services of the local kind hand out credentials, and STS with other names.
type amazonAnswer struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	SessionToken    string
}

func (a amazonAnswer) credentials() (awsCredentials, error) {
	if a.AccessKeyID == "" || a.SecretAccessKey == "" {
		return awsCredentials{}, errors.New("an answer without a key")
	}
	return awsCredentials{a.AccessKeyID, a.SecretAccessKey, a.Token + a.SessionToken}, nil
}

// amazonWebIdentity trades the token of a service account for the credentials of a role.
func (k *Keychain) amazonWebIdentity(ctx context.Context, s ecrService) (awsCredentials, error) {
	file, role := k.env("AWS_WEB_IDENTITY_TOKEN_FILE"), k.env("AWS_ROLE_ARN")
	if file == "" || role == "" {
		return awsCredentials{}, errNone
	}
	token, err := readSecret(file)
	if err != nil {
		return awsCredentials{}, err
	}
	region := s.region
	for _, name := range []string{"AWS_DEFAULT_REGION", "AWS_REGION"} {
		if r := k.env(name); regionName(r) {
			region = r
		}
	}
	r, err := postForm("https://sts."+region+"."+s.domain+"/", url.Values{
		"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"}, "RoleArn": {role},
		"RoleSessionName": {or(k.env("AWS_ROLE_SESSION_NAME"), "slipway")}, "WebIdentityToken": {token},
	})
	if err != nil {
		return awsCredentials{}, err
	}
	r.Header.Set("Accept", "application/json")
	var answer struct {
		AssumeRoleWithWebIdentityResponse struct {
			AssumeRoleWithWebIdentityResult struct{ Credentials amazonAnswer }
		}
	}
	if err := k.ask(ctx, r, &answer); err != nil {
		return awsCredentials{}, err
	}
	return answer.AssumeRoleWithWebIdentityResponse.AssumeRoleWithWebIdentityResult.Credentials.credentials()
}

func regionName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// amazonProfile reads keys from the shared credentials file.
func (k *Keychain) amazonProfile(context.Context, ecrService) (awsCredentials, error) {
	file := k.env("AWS_SHARED_CREDENTIALS_FILE")
	if file == "" {
		home := k.env("HOME")
		if home == "" {
			return awsCredentials{}, errNone
		}
		file = filepath.Join(home, ".aws", "credentials")
	}
	b, err := readSmall(file)
	if errors.Is(err, fs.ErrNotExist) {
		return awsCredentials{}, errNone
	}
	if err != nil {
		return awsCredentials{}, err
	}
	want, in := or(k.env("AWS_PROFILE"), "default"), false
	var c awsCredentials
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "[") {
			in = strings.TrimSpace(strings.Trim(line, "[]")) == want
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		if !in {
			continue
		}
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "aws_access_key_id":
			c.id = value
		case "aws_secret_access_key":
			c.secret = value
		case "aws_session_token":
			c.session = value
		}
	}
	if c.id == "" || c.secret == "" {
		return awsCredentials{}, errNone
	}
	return c, nil
}

// amazonContainer asks the endpoint that ECS or EKS names to a container. A plain one is trusted on this machine only.
func (k *Keychain) amazonContainer(ctx context.Context, _ ecrService) (awsCredentials, error) {
	at := k.env("AWS_CONTAINER_CREDENTIALS_FULL_URI")
	if rel := k.env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); rel != "" {
		at = "http://169.254.170.2/" + strings.TrimPrefix(rel, "/")
	}
	if at == "" {
		return awsCredentials{}, errNone
	}
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "https" && !localEndpoint(u.Hostname()) {
		return awsCredentials{}, errors.New("AWS_CONTAINER_CREDENTIALS_FULL_URI names an endpoint elsewhere without TLS")
	}
	token := k.env("AWS_CONTAINER_AUTHORIZATION_TOKEN")
	if f := k.env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); f != "" {
		if token, err = readSecret(f); err != nil {
			return awsCredentials{}, err
		}
	}
	r, err := get(at)
	if err != nil {
		return awsCredentials{}, err
	}
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	var answer amazonAnswer
	if u.Scheme == "https" {
		err = k.ask(ctx, r, &answer)
	} else {
		err = k.askLocal(ctx, r, &answer)
	}
	if err != nil {
		return awsCredentials{}, err
	}
	return answer.credentials()
}

// localEndpoint says whether the host is this machine, or an address that ECS or EKS give their agents.
func localEndpoint(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && (ip.IsLoopback() || host == "169.254.170.2" || host == "169.254.170.23" || host == "fd00:ec2::23")
}

// amazonInstance asks the metadata service of EC2, version 2, for the credentials of the instance's role.
func (k *Keychain) amazonInstance(ctx context.Context, _ ecrService) (awsCredentials, error) {
	if strings.EqualFold(k.env("AWS_EC2_METADATA_DISABLED"), "true") || !k.runsOn("Amazon EC2", "ec2", "EC2") {
		return awsCredentials{}, errNone
	}
	const at = "http://169.254.169.254/latest/"
	r, err := http.NewRequest(http.MethodPut, at+"api/token", nil)
	if err != nil {
		return awsCredentials{}, err
	}
	r.Header.Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "60")
	var token, role, text string
	// Not an instance, or one that lets its answer travel one hop only, so that it never reaches a container.
	if call(ctx, k.local, connectTime, r, &token) != nil {
		return awsCredentials{}, errNone
	}
	for _, step := range []struct {
		path func() string
		out  *string
	}{
		{func() string { return "" }, &role},
		{func() string { role, _, _ = strings.Cut(role, "\n"); return url.PathEscape(role) }, &text},
	} {
		r, err := get(at+"meta-data/iam/security-credentials/"+step.path(), "X-Aws-Ec2-Metadata-Token", token)
		if err != nil {
			return awsCredentials{}, err
		}
		if err := k.askLocal(ctx, r, step.out); err != nil {
			return awsCredentials{}, fmt.Errorf("the instance's role: %w", err)
		}
	}
	var answer amazonAnswer
	if json.Unmarshal([]byte(text), &answer) != nil {
		return awsCredentials{}, errors.New("the instance's role: its answer is not JSON")
	}
	return answer.credentials()
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
