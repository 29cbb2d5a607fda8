package daemon_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// sshKey makes a key and has the tree's git use it, for that service alone. The public key is returned.
func (a *app) sshKey() string {
	a.t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	block := must(ssh.MarshalPrivateKey(private, ""))(a.t)
	signer := must(ssh.NewSignerFromKey(private))(a.t)
	key, known := filepath.Join(a.dir, ".git", "id"), filepath.Join(a.dir, ".git", "known")
	_, host := a.daemon.SSH()
	for file, text := range map[string][]byte{key: pem.EncodeToMemory(block), known: []byte("* " + host + "\n")} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	a.tree.git("config", "core.sshCommand", "ssh -F none -i "+key+" -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile="+known)
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

// TestSSH is a push by SSH, from a key to an image; and what a key is good for.
func TestSSH(t *testing.T) {
	t.Parallel()
	s := common(t)
	a, other := s.newApp(t, nil), s.newApp(t, nil)
	address, _ := s.daemon.SSH()
	remote := func(name string) string { return "ssh://git@" + address + "/" + name + ".git" }
	a.tree.git("remote", "set-url", "slipway", remote(a.name))
	commit := a.commit("build.sh", "echo over ssh\n")
	public := a.sshKey()
	a.push(false, []string{"slipway", "main"}, "is not known here. Add it: slipway keys add", "Permission denied (publickey)")

	var key struct {
		ID, Comment, Fingerprint string
		Scope                    []string
		App                      *struct{ Name string }
	}
	add := map[string]any{"public_key": public + " ci of ada", "app": a.name}
	a.ask(t, "POST", "/account/keys", add).want(201).into(&key)
	if key.Comment != "ci of ada" || key.App == nil || key.App.Name != a.name || strings.Join(key.Scope, " ") != "read deploy" {
		t.Errorf("%+v", key)
	}
	a.ask(t, "POST", "/account/keys", add).want(409)
	a.ask(t, "POST", "/account/keys", map[string]any{"public_key": "ssh-rsa nothing"}).want(422)

	g := a.start("push", "slipway", "main")
	g.until("remote: -----> Received " + commit[:7])
	out, err := g.end()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	inOrder(t, out, "remote:        [test/script] over ssh", "remote: -----> Released v1 of "+a.name, "main -> main")
	a.wantReleased(commit)
	a.commit("build.sh", "exit 7\n")
	a.push(false, []string{"slipway", "main"}, " !     Phase: build, buildpack test/script@1.0", "[remote rejected] main -> main (build failed)")
	if a.remote("refs/heads/main") != commit {
		t.Error("a failed build moved main")
	}
	a.push(false, []string{remote(other.name), "main"}, "fatal: remote error: There is no such app, or it is not yours.")
	var seen struct {
		LastUsed string `json:"last_used_at"`
	}
	a.ask(t, "GET", "/account/keys/"+key.ID, nil).want(200).into(&seen)
	if seen.LastUsed == "" {
		t.Error("the key was not used")
	}
	a.ask(t, "DELETE", "/account/keys/"+key.Fingerprint[:len(key.Fingerprint)-1], nil).want(404)
	a.ask(t, "DELETE", "/account/keys/"+key.ID, nil).want(200)
	a.push(false, []string{"slipway", "main"}, "Permission denied (publickey)")
}
