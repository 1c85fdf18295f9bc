package partners

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// ErrorKind says in one word why an attempt failed; webhook_delivery_log.error_kind takes no other.
type ErrorKind string

// The kinds of errors.
const (
	KindDNS        ErrorKind = "dns"         // the host's name has no address
	KindConnect    ErrorKind = "connect"     // no connection, or it broke before the answer
	KindTLS        ErrorKind = "tls"         // no TLS session: a certificate, or the handshake
	KindTimeout    ErrorKind = "timeout"     // no answer in time
	KindHTTPStatus ErrorKind = "http_status" // an answer other than 2xx and 3xx
	KindRedirect   ErrorKind = "redirect"    // a 3xx answer, which is not followed
	KindBlocked    ErrorKind = "blocked"     // the guard does not let this address be called
	KindProtocol   ErrorKind = "protocol"    // the answer is not HTTP
	KindShutdown   ErrorKind = "shutdown"    // the worker stopped before the answer
	KindInternal   ErrorKind = "internal"    // our own trouble
)

// internalError marks errors that are ours and not the partner's.
type internalError struct{ err error }

func (e *internalError) Error() string { return e.err.Error() }
func (e *internalError) Unwrap() error { return e.err }

// ErrorKinds lists all kinds.
func ErrorKinds() []ErrorKind {
	return []ErrorKind{
		KindDNS, KindConnect, KindTLS, KindTimeout, KindHTTPStatus, KindRedirect, KindBlocked, KindProtocol, KindShutdown, KindInternal,
	}
}

// classify finds the kind of an error of the HTTP client, and words for the tenant. caller is the context
// that Send was given, without the sender's own timeout.
func classify(caller context.Context, err error, timeout time.Duration) (ErrorKind, error) {
	if _, ok := errors.AsType[*internalError](err); ok {
		return KindInternal, err
	}
	// The client's own wrapping repeats the URL.
	if clientErr, ok := errors.AsType[*url.Error](err); ok {
		err = clientErr.Err
	}
	var (
		dnsErr *net.DNSError
		netErr net.Error
		opErr  *net.OpError
	)
	proxyErr, ofProxy := proxyFailure(err)
	switch {
	case errors.Is(err, errBlocked):
		return KindBlocked, errBlocked
	case errors.Is(caller.Err(), context.Canceled):
		return KindShutdown, fmt.Errorf("stopped before the answer: %w", context.Canceled)
	case ofProxy:
		return KindInternal, proxyErr
	case errors.As(err, &dnsErr):
		return KindDNS, lookupError(dnsErr)
	case errors.Is(err, context.DeadlineExceeded):
		return KindTimeout, fmt.Errorf("no answer within %s", timeout)
	case errors.As(err, &netErr) && netErr.Timeout():
		return KindTimeout, withoutAddresses(err)
	case isTLS(err):
		return KindTLS, withoutAddresses(err)
	case errors.As(err, &opErr):
		return KindConnect, withoutAddresses(err)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), brokeOff(err):
		return KindConnect, err
	}
	return KindProtocol, err
}

// withoutAddresses leaves out of a network error what the tenant need not know: the worker's own address, and
// the one that the name led to.
func withoutAddresses(err error) error {
	if opErr, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Errorf("%s: %w", opErr.Op, opErr.Err)
	}
	return err
}

// lookupError says what became of a look-up without naming the resolver.
func lookupError(err *net.DNSError) error {
	switch {
	case err.IsNotFound:
		return fmt.Errorf("looking up %s: no such host", err.Name)
	case err.IsTimeout:
		return fmt.Errorf("looking up %s: no answer in time", err.Name)
	}
	return fmt.Errorf("looking up %s: the name service failed", err.Name)
}

func isTLS(err error) bool {
	var (
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		alert       tls.AlertError
		authority   x509.UnknownAuthorityError
		hostname    x509.HostnameError
		invalid     x509.CertificateInvalidError
	)
	return errors.As(err, &certificate) || errors.As(err, &record) || errors.As(err, &alert) ||
		errors.As(err, &authority) || errors.As(err, &hostname) || errors.As(err, &invalid) ||
		strings.Contains(err.Error(), "tls: ") ||
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// closedWhileIdle recognises a kept connection that the partner closed before the request reached it.
func closedWhileIdle(err error) bool {
	return err != nil && strings.Contains(err.Error(), "server closed idle connection")
}

// brokeOff recognises a connection that ended before an answer, which the transport has only words for.
func brokeOff(err error) bool {
	text := err.Error()
	return text == "EOF" || strings.Contains(text, "unexpected EOF") ||
		strings.Contains(text, "server closed idle connection") || strings.Contains(text, "transport connection broken: EOF") ||
		// HTTP/2's ways to say so: a stream that was reset, and a connection that was given up.
		(strings.Contains(text, "stream error: ") && strings.Contains(text, "received from peer")) ||
		strings.Contains(text, "http2: server sent GOAWAY") || strings.Contains(text, "http2: client connection lost")
}
