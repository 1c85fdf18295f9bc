package partners

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
)

// ErrProxy is wrapped by a [Response]'s error if the outbound proxy failed before the request left for the
// partner: it says nothing about the partner.
var ErrProxy = errors.New("the outbound proxy failed")

// ParseProxyURL reads where an outbound proxy is: http or https, with a user and password if it wants them.
func ParseProxyURL(text string) (*url.URL, error) {
	proxy, err := url.Parse(text)
	if err == nil && proxy.Port() != "" {
		_, err = ParsePorts(proxy.Port())
	}
	if err != nil || proxy.Hostname() == "" || (proxy.Scheme != "http" && proxy.Scheme != "https") ||
		(proxy.Path != "" && proxy.Path != "/") || proxy.RawQuery != "" || proxy.Fragment != "" {
		return nil, errors.New("it must be http://HOST:PORT or https://HOST:PORT, with USER:PASSWORD@ before the host if the proxy asks for it")
	}
	return proxy, nil
}

// connectTunnel knows how far a request through a proxy came.
type connectTunnel struct{ open atomic.Bool } // the proxy has answered CONNECT, or there was a connection from before

type tunnelKey struct{}

// withTunnel lets the transport tell what becomes of the way to the partner.
func withTunnel(ctx context.Context) (context.Context, *connectTunnel) {
	way := &connectTunnel{}
	ctx = context.WithValue(ctx, tunnelKey{}, way)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { way.open.Store(true) }}), way
}

// blame makes an error one of the proxy's if the proxy broke off, or talked nonsense, instead of answering CONNECT. One
// that lets the time pass may be waiting for the partner.
func (t *connectTunnel) blame(err error) error {
	var netErr net.Error
	if err == nil || t.open.Load() || errors.Is(err, errBlocked) || errors.Is(err, ErrProxy) || errors.Is(err, context.Canceled) ||
		errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout() {
		return err
	}
	if _, ok := proxyFailure(err); ok {
		return err
	}
	if clientErr, ok := errors.AsType[*url.Error](err); ok {
		err = clientErr.Err
	}
	if _, ok := errors.AsType[*net.OpError](err); !ok && !brokeOff(err) {
		return fmt.Errorf("%w: it did not answer CONNECT in HTTP", ErrProxy) // the error repeats what it said
	}
	return fmt.Errorf("%w: it did not answer CONNECT: %w", ErrProxy, withoutAddresses(err))
}

// checkConnect judges a proxy's answer to CONNECT. That it could not reach the partner, or may not, is about
// the partner; anything else but success is about the proxy.
func checkConnect(ctx context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
	if way, ok := ctx.Value(tunnelKey{}).(*connectTunnel); ok {
		way.open.Store(true)
	}
	switch answer.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusForbidden, http.StatusUnavailableForLegalReasons:
		return errBlocked
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return &net.OpError{Op: "connect", Err: fmt.Errorf("the outbound proxy answered %d", answer.StatusCode)}
	}
	return proxyAnswered(answer)
}

func proxyAnswered(answer *http.Response) error {
	return fmt.Errorf("%w: it answered %d %s", ErrProxy, answer.StatusCode, http.StatusText(answer.StatusCode))
}

// proxyFailure turns an error of connecting to the proxy into one that wraps [ErrProxy].
func proxyFailure(err error) (error, bool) {
	if errors.Is(err, ErrProxy) {
		return err, true
	}
	opErr, ok := errors.AsType[*net.OpError](err)
	if !ok || opErr.Op != "proxyconnect" {
		return nil, false
	}
	return fmt.Errorf("%w: %w", ErrProxy, withoutProxy(opErr.Err)), true
}

// withoutProxy leaves out of an error what tenants need not know of the proxy: its name and address, what its
// certificate says, and who signed that.
func withoutProxy(err error) error {
	if dnsErr, ok := errors.AsType[*net.DNSError](err); ok {
		unnamed := *dnsErr
		unnamed.Name = "its name"
		return lookupError(&unnamed)
	}
	var (
		hostname  x509.HostnameError
		authority x509.UnknownAuthorityError
	)
	switch {
	case errors.As(err, &hostname):
		return errors.New("its certificate is not for its name")
	case errors.As(err, &authority):
		return errors.New("its certificate is of an unknown authority")
	}
	return withoutAddresses(err)
}
