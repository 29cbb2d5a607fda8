package cloud

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var testNow = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// A world is a server that stands in for every endpoint of the clouds, by host and path.
type world struct {
	t       *testing.T
	server  *httptest.Server
	answers map[string]string // "METHOD host/path" -> answer; "403 ..." refuses
	header  http.Header       // of every answer

	mu   sync.Mutex
	seen []string
	last map[string]*http.Request // with the form parsed
	body map[string]string
}

func newWorld(t *testing.T, answers map[string]string) *world {
	w := &world{t: t, answers: answers, header: http.Header{}, last: map[string]*http.Request{}, body: map[string]string{}}
	w.server = httptest.NewServer(w)
	t.Cleanup(w.server.Close)
	return w
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	key := r.Method + " " + r.Host + r.URL.Path
	b, _ := io.ReadAll(r.Body)
	w.mu.Lock()
	w.seen = append(w.seen, key)
	w.last[key], w.body[key] = r, string(b)
	w.mu.Unlock()
	maps.Copy(rw.Header(), w.header)
	answer, ok := w.answers[key]
	if !ok {
		http.NotFound(rw, r)
		return
	}
	if text, refused := strings.CutPrefix(answer, "403 "); refused {
		rw.WriteHeader(http.StatusForbidden)
		answer = text
	}
	io.WriteString(rw, answer)
}

// RoundTrip sends every request to the world's server, under the host that it was for.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	to, err := url.Parse(w.server.URL)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Host, r.URL.Scheme, r.URL.Host = r.URL.Host, to.Scheme, to.Host
	return http.DefaultTransport.RoundTrip(r)
}

func (w *world) form(key string) url.Values {
	v, err := url.ParseQuery(w.body[key])
	if err != nil {
		w.t.Error(err)
	}
	return v
}

// keychain is a Keychain on a machine of nobody's, with the variables given as NAME=value.
func (w *world) keychain(vendor string, env ...string) *Keychain {
	w.t.Helper()
	k := New(func(name string) string {
		for _, kv := range env {
			if v, ok := strings.CutPrefix(kv, name+"="); ok {
				return v
			}
		}
		return ""
	}, w)
	k.local, k.sys, k.now = w, w.t.TempDir(), func() time.Time { return testNow }
	if vendor != "" {
		dir := filepath.Join(k.sys, "class", "dmi", "id")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			w.t.Fatal(err)
		}
		write(w.t, filepath.Join(dir, "sys_vendor"), vendor+"\n")
	}
	return k
}

func write(t *testing.T, at, text string) string {
	t.Helper()
	if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return at
}

const (
	ecrRegistry = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
	ecrAPI      = "POST api.ecr.eu-west-1.amazonaws.com/"
	imds        = "169.254.169.254/latest/"
)

func ecrAnswer(public bool) string {
	t := fmt.Sprintf(`{"authorizationToken":%q,"expiresAt":%d.25}`, base64.StdEncoding.EncodeToString([]byte("AWS:pass:word")), testNow.Add(12*time.Hour).Unix())
	if !public {
		t = "[" + t + "]"
	}
	return `{"authorizationData":` + t + `}`
}

func TestLogin(t *testing.T) {
	dir := t.TempDir()
	token := write(t, filepath.Join(dir, "token"), "jwt\n")
	profiles := write(t, filepath.Join(dir, "credentials"), "# comment\n[default]\naws_access_key_id = AKID\naws_secret_access_key=secret\n[other]\naws_access_key_id = OTHER\naws_secret_access_key = s\naws_session_token = session\n")
	user := write(t, filepath.Join(dir, "user.json"), `{"type":"authorized_user","client_id":"c","client_secret":"s","refresh_token":"r"}`)
	external := write(t, filepath.Join(dir, "external.json"), `{"type":"external_account"}`)
	sts := `{"AssumeRoleWithWebIdentityResponse":{"AssumeRoleWithWebIdentityResult":{"Credentials":{"AccessKeyId":"ROLE","SecretAccessKey":"s","SessionToken":"st","Expiration":1.7e9}}}}`
	role := `{"Code":"Success","AccessKeyId":"INST","SecretAccessKey":"s","Token":"t"}`
	amazon := Login{Username: "AWS", Password: "pass:word"}
	acr, google := Login{IdentityToken: "refresh"}, Login{Username: "oauth2accesstoken", Password: "ya29"}
	const (
		exchange = "POST corp.azurecr.io/oauth2/exchange"
		entra    = "POST login.microsoftonline.com/tenant/oauth2/v2.0/token"
		vm       = "GET 169.254.169.254/metadata/identity/oauth2/token"
		gce      = "GET 169.254.169.254/computeMetadata/v1/instance/service-accounts/default/token"
	)
	tests := []struct {
		name, host, vendor string
		env                []string
		answers            map[string]string
		want               Login
		seen               []string
		failure            string
	}{
		{name: "nobody's registry", host: "registry.example.com", env: []string{"AWS_ACCESS_KEY_ID=AKID", "AWS_SECRET_ACCESS_KEY=s"}},
		{name: "looks like ECR", host: ecrRegistry + ".example.com", env: []string{"AWS_ACCESS_KEY_ID=AKID", "AWS_SECRET_ACCESS_KEY=s"}},
		{name: "looks like ACR", host: "xazurecr.io", env: []string{"AZURE_CLIENT_ID=c", "AZURE_TENANT_ID=t", "AZURE_CLIENT_SECRET=s"}},
		{name: "no credentials", host: ecrRegistry},
		{name: "no credentials, ACR", host: "corp.azurecr.io"},
		{name: "no credentials, Google", host: "eu-docker.pkg.dev", env: []string{"HOME=" + dir}},

		{name: "ECR, variables", host: ecrRegistry, env: []string{"AWS_ACCESS_KEY_ID=AKID", "AWS_SECRET_ACCESS_KEY=s"}, answers: map[string]string{ecrAPI: ecrAnswer(false)}, want: amazon, seen: []string{ecrAPI}},
		{name: "ECR, China", host: "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", env: []string{"AWS_ACCESS_KEY_ID=AKID", "AWS_SECRET_ACCESS_KEY=s"}, answers: map[string]string{"POST api.ecr.cn-north-1.amazonaws.com.cn/": ecrAnswer(false)}, want: amazon},
		{name: "ECR, FIPS", host: "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", env: []string{"AWS_ACCESS_KEY_ID=AKID", "AWS_SECRET_ACCESS_KEY=s"}, answers: map[string]string{"POST ecr-fips.us-gov-west-1.amazonaws.com/": ecrAnswer(false)}, want: amazon},
		{name: "ECR, dual stack", host: "123456789012.dkr-ecr.eu-west-1.on.aws", env: []string{"AWS_ACCESS_KEY_ID=AKID", "AWS_SECRET_ACCESS_KEY=s"}, answers: map[string]string{"POST ecr.eu-west-1.api.aws/": ecrAnswer(false)}, want: amazon},
		{name: "ECR public", host: "public.ecr.aws", env: []string{"AWS_ACCESS_KEY_ID=AKID", "AWS_SECRET_ACCESS_KEY=s"}, answers: map[string]string{"POST api.ecr-public.us-east-1.amazonaws.com/": ecrAnswer(true)}, want: amazon},
		{name: "ECR, skipped", host: ecrRegistry, env: []string{"AWS_ACCESS_KEY_ID=AKID", "AWS_SECRET_ACCESS_KEY=s", "CNB_REGISTRY_AUTH_KEYCHAIN_SKIP_AMAZON=true"}, answers: map[string]string{ecrAPI: ecrAnswer(false)}},
		{name: "ECR, profile", host: ecrRegistry, env: []string{"AWS_SHARED_CREDENTIALS_FILE=" + profiles}, answers: map[string]string{ecrAPI: ecrAnswer(false)}, want: amazon},
		{name: "ECR, no such profile", host: ecrRegistry, env: []string{"AWS_SHARED_CREDENTIALS_FILE=" + profiles, "AWS_PROFILE=x"}},
		{name: "ECR, web identity", host: ecrRegistry, env: []string{"AWS_WEB_IDENTITY_TOKEN_FILE=" + token, "AWS_ROLE_ARN=arn"}, answers: map[string]string{ecrAPI: ecrAnswer(false), "POST sts.eu-west-1.amazonaws.com/": sts}, want: amazon, seen: []string{"POST sts.eu-west-1.amazonaws.com/", ecrAPI}},
		{name: "ECR, ECS", host: ecrRegistry, env: []string{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/v2/x"}, answers: map[string]string{ecrAPI: ecrAnswer(false), "GET 169.254.170.2/v2/x": role}, want: amazon},
		{name: "ECR, EKS pod identity", host: ecrRegistry, env: []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://169.254.170.23/v1/credentials", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=" + token}, answers: map[string]string{ecrAPI: ecrAnswer(false), "GET 169.254.170.23/v1/credentials": role}, want: amazon},
		{name: "ECR, endpoint elsewhere", host: ecrRegistry, env: []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://example.com/x"}, failure: "elsewhere without TLS"},
		{name: "ECR, instance", host: ecrRegistry, vendor: "Amazon EC2", answers: map[string]string{
			ecrAPI: ecrAnswer(false), "PUT " + imds + "api/token": "imds", "GET " + imds + "meta-data/iam/security-credentials/": "build-role", "GET " + imds + "meta-data/iam/security-credentials/build-role": role,
		}, want: amazon},
		{name: "ECR, instance service turned off", host: ecrRegistry, vendor: "Amazon EC2", env: []string{"AWS_EC2_METADATA_DISABLED=true"}},
		{name: "ECR, instance without metadata", host: ecrRegistry, vendor: "Amazon EC2", seen: []string{"PUT " + imds + "api/token"}},
		{name: "ECR refuses", host: ecrRegistry, env: []string{"AWS_ACCESS_KEY_ID=AKID", "AWS_SECRET_ACCESS_KEY=s"}, answers: map[string]string{ecrAPI: `403 {"__type":"UnrecognizedClientException","message":"The security token is invalid."}`}, failure: "api.ecr.eu-west-1.amazonaws.com answers 403 Forbidden: UnrecognizedClientException: The security token is invalid."},
		{name: "ECR talks nonsense", host: ecrRegistry, env: []string{"AWS_ACCESS_KEY_ID=AKID", "AWS_SECRET_ACCESS_KEY=s"}, answers: map[string]string{ecrAPI: "geheim"}, failure: "answers no JSON"},

		{name: "ACR, secret", host: "corp.azurecr.io", env: []string{"AZURE_CLIENT_ID=client", "AZURE_TENANT_ID=tenant", "AZURE_CLIENT_SECRET=s"}, answers: map[string]string{entra: `{"access_token":"aad","expires_in":3599}`, exchange: `{"refresh_token":"refresh"}`}, want: acr, seen: []string{entra, exchange}},
		{name: "ACR, federated", host: "corp.azurecr.io", env: []string{"AZURE_CLIENT_ID=client", "AZURE_TENANT_ID=tenant", "AZURE_FEDERATED_TOKEN_FILE=" + token}, answers: map[string]string{entra: `{"access_token":"aad","expires_in":"3599"}`, exchange: `{"refresh_token":"refresh"}`}, want: acr},
		{name: "ACR, US government", host: "corp.azurecr.us", env: []string{"AZURE_CLIENT_ID=client", "AZURE_TENANT_ID=tenant", "AZURE_CLIENT_SECRET=s"}, answers: map[string]string{"POST login.microsoftonline.us/tenant/oauth2/v2.0/token": `{"access_token":"aad"}`, "POST corp.azurecr.us/oauth2/exchange": `{"refresh_token":"refresh"}`}, want: acr},
		{name: "ACR, virtual machine", host: "corp.azurecr.io", vendor: "Microsoft Corporation", answers: map[string]string{vm: `{"access_token":"aad"}`, exchange: `{"refresh_token":"refresh"}`}, want: acr},
		{name: "ACR, virtual machine without identity", host: "corp.azurecr.io", vendor: "Microsoft Corporation", seen: []string{vm}},
		{name: "ACR, container app", host: "corp.azurecr.io", env: []string{"IDENTITY_ENDPOINT=http://localhost:42356/msi/token", "IDENTITY_HEADER=h"}, answers: map[string]string{"GET localhost:42356/msi/token": `{"access_token":"aad"}`, exchange: `{"refresh_token":"refresh"}`}, want: acr},
		{name: "ACR, skipped", host: "corp.azurecr.io", vendor: "Microsoft Corporation", env: []string{"CNB_REGISTRY_AUTH_KEYCHAIN_SKIP_AZURE=true"}},
		{name: "ACR refuses", host: "corp.azurecr.io", env: []string{"AZURE_CLIENT_ID=client", "AZURE_TENANT_ID=tenant", "AZURE_CLIENT_SECRET=s"}, answers: map[string]string{entra: `403 {"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret.\r\nTrace ID: x"}`}, failure: "invalid_client: AADSTS7000215"},
		{name: "plain authority", host: "corp.azurecr.io", env: []string{"AZURE_CLIENT_ID=client", "AZURE_TENANT_ID=tenant", "AZURE_CLIENT_SECRET=s", "AZURE_AUTHORITY_HOST=http://example.com"}, failure: "want https://"},

		{name: "Google, user", host: "gcr.io", env: []string{"GOOGLE_APPLICATION_CREDENTIALS=" + user}, answers: map[string]string{"POST oauth2.googleapis.com/token": `{"access_token":"ya29","expires_in":3599}`}, want: google},
		{name: "Google, machine", host: "eu.gcr.io", vendor: "Google", answers: map[string]string{gce: `{"access_token":"ya29","expires_in":3599}`}, want: google, seen: []string{gce}},
		{name: "Google, machine without account", host: "eu.gcr.io", vendor: "Google", seen: []string{gce}},
		{name: "Google, named host", host: "eu.gcr.io", env: []string{"GCE_METADATA_HOST=metadata.test"}, answers: map[string]string{"GET metadata.test/computeMetadata/v1/instance/service-accounts/default/token": `{"access_token":"ya29","expires_in":3599}`}, want: google},
		{name: "Google, file is gone", host: "gcr.io", env: []string{"GOOGLE_APPLICATION_CREDENTIALS=/nonexistent"}, failure: "/nonexistent"},
		{name: "Google, other type", host: "gcr.io", env: []string{"GOOGLE_APPLICATION_CREDENTIALS=" + external}, failure: `"external_account" are not spoken`},
		{name: "Google, skipped", host: "gcr.io", vendor: "Google", env: []string{"CNB_REGISTRY_AUTH_KEYCHAIN_SKIP_GOOGLE=true"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, tt.answers)
			w.header.Set("Metadata-Flavor", "Google")
			k := w.keychain(tt.vendor, tt.env...)
			if got := k.Login(t.Context(), tt.host); got != tt.want {
				t.Errorf("got %+v, want %+v (%v)", got, tt.want, k.Failure(tt.host))
			}
			seen := w.seen
			if again := k.Login(t.Context(), tt.host); again != tt.want || len(w.seen) != len(seen) {
				t.Errorf("the second time: %+v, asked %v", again, w.seen)
			}
			if tt.answers == nil && tt.seen == nil && len(seen) > 0 || tt.seen != nil && !slices.Equal(seen, tt.seen) {
				t.Errorf("asked %q, want %q", seen, tt.seen)
			}
			err := k.Failure(tt.host)
			if tt.failure == "" && err != nil || tt.failure != "" && (err == nil || !strings.Contains(err.Error(), tt.failure)) {
				t.Errorf("failure %v, want %q", err, tt.failure)
			}
			if err != nil && strings.Contains(err.Error(), "geheim") {
				t.Errorf("an answer that may be a secret is quoted: %v", err)
			}
		})
	}
}

func TestWhatIsSent(t *testing.T) {
	dir := t.TempDir()
	token := write(t, filepath.Join(dir, "token"), "jwt\n")
	w := newWorld(t, map[string]string{
		ecrAPI: ecrAnswer(false), "GET 169.254.170.23/v1/credentials": `{"AccessKeyId":"INST","SecretAccessKey":"s","Token":"t"}`,
		"POST login.microsoftonline.com/tenant/oauth2/v2.0/token": `{"access_token":"aad"}`, "POST corp.azurecr.io/oauth2/exchange": `{"refresh_token":"refresh"}`,
	})
	k := w.keychain("", "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://169.254.170.23/v1/credentials", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE="+token,
		"AZURE_CLIENT_ID=client", "AZURE_TENANT_ID=tenant", "AZURE_FEDERATED_TOKEN_FILE="+token)
	k.Login(t.Context(), ecrRegistry)
	k.Login(t.Context(), "corp.azurecr.io")
	if got := w.last["GET 169.254.170.23/v1/credentials"].Header.Get("Authorization"); got != "jwt" {
		t.Errorf("authorization of the container: %q", got)
	}
	h := w.last[ecrAPI].Header
	if got := h.Get("Authorization"); h.Get("X-Amz-Security-Token") != "t" || w.body[ecrAPI] != "{}" ||
		!strings.HasPrefix(got, "AWS4-HMAC-SHA256 Credential=INST/20260501/eu-west-1/ecr/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, Signature=") {
		t.Errorf("request to ECR: %v %s", h, w.body[ecrAPI])
	}
	f := w.form("POST login.microsoftonline.com/tenant/oauth2/v2.0/token")
	if f.Get("client_assertion") != "jwt" || f.Get("scope") != "https://management.azure.com/.default" || f.Get("client_id") != "client" {
		t.Errorf("request to Entra: %v", f)
	}
	f = w.form("POST corp.azurecr.io/oauth2/exchange")
	if f.Get("service") != "corp.azurecr.io" || f.Get("access_token") != "aad" || f.Get("tenant") != "tenant" || f.Get("grant_type") != "access_token" {
		t.Errorf("request to ACR: %v", f)
	}
}

// The vectors are of Amazon's documentation of signature version 4.
func TestSign(t *testing.T) {
	now := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	c := awsCredentials{id: "AKIDEXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
	for method, want := range map[string]string{
		"GET":  "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
		"POST": "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
	} {
		r, err := http.NewRequest(method, "https://example.amazonaws.com/", nil)
		if err != nil {
			t.Fatal(err)
		}
		sign(r, nil, c, "service", "us-east-1", now)
		if got := r.Header.Get("Authorization"); got != "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature="+want {
			t.Errorf("%s: %s", method, got)
		}
	}
}

func TestServiceAccount(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "b@p.iam.gserviceaccount.com", "private_key_id": "kid", "token_uri": "https://oauth2.test/token",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	const at = "POST oauth2.test/token"
	w := newWorld(t, map[string]string{at: `{"access_token":"ya29","expires_in":3599}`})
	k := w.keychain("", "GOOGLE_APPLICATION_CREDENTIALS="+write(t, filepath.Join(t.TempDir(), "key.json"), string(file)))
	if got := k.Login(t.Context(), "us-docker.pkg.dev"); got.Password != "ya29" {
		t.Fatalf("got %+v, %v", got, k.Failure("us-docker.pkg.dev"))
	}
	f := w.form(at)
	parts := strings.Split(f.Get("assertion"), ".")
	if len(parts) != 3 || f.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		t.Fatalf("request: %v", f)
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], signature); err != nil {
		t.Error(err)
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	want := `{"aud":"https://oauth2.test/token","exp":1777640400,"iat":1777636800,"iss":"b@p.iam.gserviceaccount.com","scope":"https://www.googleapis.com/auth/cloud-platform"}`
	if err != nil || string(claims) != want {
		t.Errorf("claims %s, %v", claims, err)
	}
}

// TestOtherMetadata: another cloud's service at the same address gets no say, and hands out nothing.
func TestOtherMetadata(t *testing.T) {
	w := newWorld(t, map[string]string{"GET 169.254.169.254/computeMetadata/v1/instance/service-accounts/default/token": `{"access_token":"ya29","expires_in":3599}`})
	k := w.keychain("", "KUBERNETES_SERVICE_HOST=10.0.0.1")
	if got := k.Login(t.Context(), "gcr.io"); got != (Login{}) || k.Failure("gcr.io") != nil {
		t.Errorf("got %+v, %v", got, k.Failure("gcr.io"))
	}
}

func TestLoginEnds(t *testing.T) {
	w := newWorld(t, map[string]string{ecrAPI: ecrAnswer(false)})
	k := w.keychain("", "AWS_ACCESS_KEY_ID=AKID", "AWS_SECRET_ACCESS_KEY=s")
	now := testNow
	k.now = func() time.Time { return now }
	for after, asked := range []int{1, 1, 2} {
		now = testNow.Add(time.Duration(after) * 6 * time.Hour)
		k.Login(t.Context(), ecrRegistry)
		if len(w.seen) != asked {
			t.Errorf("after %d hours: asked %d times", 6*after, len(w.seen))
		}
	}
}

// silent answers nothing until the request is given up.
type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, context.Cause(r.Context())
}

func TestMetadataDoesNotHang(t *testing.T) {
	w := newWorld(t, nil)
	k := w.keychain("Amazon EC2")
	k.local = silent{}
	start := time.Now()
	if got := k.Login(t.Context(), ecrRegistry); got != (Login{}) || time.Since(start) > 3*time.Second {
		t.Errorf("got %+v after %v", got, time.Since(start))
	}
}
