package vaultserver

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// A Proxy is a Vault Proxy in front of a server. It logs in, writes its token to a file as an agent does, and adds it to requests without a
// token.
type Proxy struct {
	Addr string // its socket, such as unix:///DIR/socket
	Sink string // the file with its token
}

// Proxy starts a proxy that logs in with a role of the AppRole auth method at mount, until t ends. It works on Unix only.
func (s *Server) Proxy(t TB, mount, roleID, secretID string) *Proxy {
	t.Helper()
	dir, err := os.MkdirTemp("", "vaultproxy-") // socket paths have a short limit
	if err != nil {
		t.Fatalf("vaultserver: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	file := func(name string) string { return filepath.Join(dir, name) }
	config := fmt.Sprintf(`
		vault { address = %q }
		auto_auth {
			method "approle" {
				mount_path = %q
				config = { role_id_file_path = %q, secret_id_file_path = %q, remove_secret_id_file_after_reading = false }
			}
			sink "file" { config = { path = %q } }
		}
		api_proxy { use_auto_auth_token = true }
		listener "unix" {
			address = %q
			tls_disable = true
		}`, s.Addr, "auth/"+mount, file("role"), file("secret"), file("token"), file("socket"))
	for name, content := range map[string]string{"role": roleID, "secret": secretID, "config.hcl": config} {
		if err := os.WriteFile(file(name), []byte(content), private); err != nil {
			t.Fatalf("vaultserver: %v", err)
		}
	}
	p, err := startProcess(s.binary, []string{"proxy", "-config=" + file("config.hcl")}, environment(dir), file("log"))
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(p.kill)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for began := time.Now(); !exists(file("token")) || !exists(file("socket")); {
		if time.Since(began) > startTimeout {
			log, _ := os.ReadFile(file("log"))
			t.Fatalf("vaultserver: the proxy does not serve after %v\n%s", startTimeout, log)
		}
		<-tick.C
	}
	return &Proxy{Addr: "unix://" + file("socket"), Sink: file("token")}
}
