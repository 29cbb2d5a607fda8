package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
)

var acrHost = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-z0-9][a-z0-9-]*(\.[a-z0-9-]+)*\.azurecr\.(io|cn|us|de)$`)
})

// An azureCloud is where identities log in, and the resource that a token is for.
type azureCloud struct{ authority, resource string }

func azureCloudOf(suffix string) azureCloud {
	switch suffix {
	case "cn":
		return azureCloud{"https://login.chinacloudapi.cn", "https://management.chinacloudapi.cn/"}
	case "us":
		return azureCloud{"https://login.microsoftonline.us", "https://management.usgovcloudapi.net/"}
	case "de":
		return azureCloud{"https://login.microsoftonline.de", "https://management.microsoftazure.de/"}
	}
	return azureCloud{"https://login.microsoftonline.com", "https://management.azure.com/"}
}

// azure is the lookup of an ACR registry, nil for others'.
func (k *Keychain) azure(host string) lookup {
	m := acrHost().FindStringSubmatch(host)
	if m == nil {
		return nil
	}
	return func(ctx context.Context) (Login, time.Time, error) {
		return k.azureLogin(ctx, host, azureCloudOf(m[2]))
	}
}

// azureLogin trades a token of Entra ID for the registry's refresh token.
func (k *Keychain) azureLogin(ctx context.Context, host string, c azureCloud) (Login, time.Time, error) {
	token, err := k.azureToken(ctx, c)
	if err != nil {
		return Login{}, time.Time{}, fmt.Errorf("credentials of Azure: %w", err)
	}
	form := url.Values{"grant_type": {"access_token"}, "service": {host}, "access_token": {token}}
	if t := k.env("AZURE_TENANT_ID"); t != "" {
		form.Set("tenant", t)
	}
	r, err := postForm("https://"+host+"/oauth2/exchange", form)
	if err != nil {
		return Login{}, time.Time{}, err
	}
	var answer struct {
		RefreshToken string `json:"refresh_token"`
	}
	if err := k.ask(ctx, r, &answer); err != nil {
		return Login{}, time.Time{}, fmt.Errorf("trade Azure's token for the registry's: %w", err)
	}
	if answer.RefreshToken == "" {
		return Login{}, time.Time{}, errors.New("trade Azure's token for the registry's: an answer without a token")
	}
	return Login{IdentityToken: answer.RefreshToken}, k.now().Add(time.Hour), nil // it lasts for three
}

// azureToken is an access token: of a service principal with a secret, of a federated identity (AKS, CI), or of a
// managed identity.
func (k *Keychain) azureToken(ctx context.Context, c azureCloud) (string, error) {
	tenant, client := k.env("AZURE_TENANT_ID"), k.env("AZURE_CLIENT_ID")
	if tenant == "" || client == "" {
		return k.azureManaged(ctx, c, client)
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {client}, "scope": {c.resource + ".default"}}
	jwt := k.env("AZURE_FEDERATED_TOKEN")
	if f := k.env("AZURE_FEDERATED_TOKEN_FILE"); jwt == "" && f != "" {
		var err error
		if jwt, err = readSecret(f); err != nil {
			return "", err
		}
	}
	switch secret := k.env("AZURE_CLIENT_SECRET"); {
	case secret != "":
		form.Set("client_secret", secret)
	case jwt != "":
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", jwt)
	default:
		return k.azureManaged(ctx, c, client)
	}
	authority := strings.TrimSuffix(or(k.env("AZURE_AUTHORITY_HOST"), c.authority), "/")
	if !strings.HasPrefix(authority, "https://") {
		return "", errors.New("AZURE_AUTHORITY_HOST: want https://")
	}
	r, err := postForm(authority+"/"+url.PathEscape(tenant)+"/oauth2/v2.0/token", form)
	if err != nil {
		return "", err
	}
	return azureAnswer(r.URL.Host, func(out any) error { return k.ask(ctx, r, out) })
}

// azureManaged asks the endpoint of App Service and its relatives, or the metadata service of a virtual machine.
func (k *Keychain) azureManaged(ctx context.Context, c azureCloud, client string) (string, error) {
	q := url.Values{"resource": {c.resource}, "api-version": {"2018-02-01"}}
	if client != "" {
		q.Set("client_id", client)
	}
	at, header, value := "http://169.254.169.254/metadata/identity/oauth2/token", "Metadata", "true"
	named := k.env("IDENTITY_ENDPOINT") != "" && k.env("IDENTITY_HEADER") != ""
	switch {
	case named:
		at, header, value = k.env("IDENTITY_ENDPOINT"), "X-IDENTITY-HEADER", k.env("IDENTITY_HEADER")
		q.Set("api-version", "2019-08-01")
	case client == "" && !k.runsOn("Microsoft Corporation", "7783-7084-3265-9085-8269-3286-77"):
		return "", errNone
	}
	r, err := get(at+"?"+q.Encode(), header, value)
	if err != nil {
		return "", err
	}
	token, err := azureAnswer(r.URL.Host, func(out any) error { return k.askLocal(ctx, r, out) })
	if err != nil && !named && client == "" {
		return "", errNone // a machine without an identity
	}
	return token, err
}

func azureAnswer(host string, ask func(any) error) (string, error) {
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := ask(&answer); err != nil {
		return "", err
	}
	if answer.AccessToken == "" {
		return "", fmt.Errorf("%s: an answer without a token", host)
	}
	return answer.AccessToken, nil
}
