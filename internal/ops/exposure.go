package ops

import (
	"errors"
	"fmt"
	"net"
	"strings"
)

// ErrExposed is returned for an address that others than this machine reach, if there are no credentials or
// they would travel unencrypted.
var ErrExposed = errors.New("pages that others can reach")

// checkExposure returns an error that wraps ErrExposed and names all that is missing.
func (c *Config) checkExposure() error {
	if isLoopback(c.Addr) {
		return nil
	}
	var missing []string
	if c.User == "" {
		missing = append(missing, "credentials (set WEBHOOK_UI_USER and WEBHOOK_UI_PASSWORD)")
	}
	if c.Certificate == nil && !c.BehindProxy {
		missing = append(missing, "encryption (give --tls-cert and --tls-key, or --behind-proxy if something in front of it encrypts)")
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("listening on %s: %w need %s; or listen on 127.0.0.1", c.Addr, ErrExposed, strings.Join(missing, ", and "))
}

// isLoopback says whether only this machine reaches an address.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && isLoopbackName(host)
}
