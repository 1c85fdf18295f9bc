package main

import (
	"net"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/internal/config"
	"github.com/epicvoice/webhook-worker/internal/ops"
)

// pagesFlags are how pages are served, by serve and by dev.
type pagesFlags struct {
	TLSCert     given          `name:"tls-cert" placeholder:"FILE" help:"Certificate with its chain, in PEM, for https; read again when it changes."`
	TLSKey      given          `name:"tls-key" placeholder:"FILE" help:"Key of the certificate, in PEM."`
	BehindProxy bool           `help:"Serve http on other than loopback: what is in front of it encrypts."`
	Host        []ops.HostName `sep:"none" placeholder:"NAME" help:"Name that browsers ask for, besides the address it listens on; repeatable."`
	ReadOnly    bool           `help:"Show everything and change nothing."`
}

// config is what the pages need, for an address.
func (f *pagesFlags) config(a *app, cfg *config.Config, pool *pgxpool.Pool, addr string) (*ops.Config, error) {
	if (f.TLSCert == "") != (f.TLSKey == "") {
		return nil, usagef("--tls-cert and --tls-key go together: give both or neither")
	}
	pages := &ops.Config{
		Pool:        pool,
		Addr:        addr,
		Logger:      a.logger(cfg),
		User:        cfg.UIUser,
		Password:    string(cfg.UIPassword),
		BehindProxy: f.BehindProxy,
		Hosts:       f.Host,
		ReadOnly:    f.ReadOnly,
	}
	if f.TLSCert == "" {
		return pages, nil
	}
	var err error
	if pages.Certificate, err = ops.LoadCertificate(string(f.TLSCert), string(f.TLSKey), pages.Logger); err != nil {
		return nil, &usageError{err}
	}
	return pages, nil
}

// checkAddr refuses what is no address to listen on.
func checkAddr(addr string) error {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return usagef("--addr must be HOST:PORT, such as 127.0.0.1:8080, and is %q", addr)
	}
	return nil
}
