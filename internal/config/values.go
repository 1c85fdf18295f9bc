package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/partners"
)

const day = 24 * time.Hour

// Duration is a length of time, written as seconds (30, 0.5) or in Go's form (90s, 1h30m).
type Duration time.Duration

// UnmarshalText reads a Duration.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := parseDuration(string(text))
	*d = Duration(parsed)
	return err
}

// Std is d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

func (d Duration) String() string { return shortDuration(time.Duration(d)) }

// Retention is how long something is kept: a [Duration], or days (90d), or -1 for ever.
type Retention time.Duration

// Forever keeps.
const Forever Retention = -1

// UnmarshalText reads a Retention.
func (r *Retention) UnmarshalText(text []byte) error {
	if string(text) == "-1" {
		*r = Forever
		return nil
	}
	parsed, err := parseDuration(string(text))
	if err == nil && parsed <= 0 {
		err = errors.New("it must be longer than 0, or -1 for ever")
	}
	*r = Retention(parsed)
	return err
}

// Std is r as the standard library's type; -1 means for ever, as it does to River.
func (r Retention) Std() time.Duration { return time.Duration(r) }

func (r Retention) String() string {
	switch {
	case r == Forever:
		return "-1"
	case time.Duration(r)%day == 0:
		return fmt.Sprintf("%dd", time.Duration(r)/day)
	}
	return shortDuration(time.Duration(r))
}

func (r Retention) shorterThan(other Retention) bool {
	return r != Forever && (other == Forever || r < other)
}

func parseDuration(text string) (time.Duration, error) {
	bad := errors.New("it must be seconds, such as 30, or a duration, such as 90s, 15m, 24h or 90d")
	if number, ok := strings.CutSuffix(text, "d"); ok {
		days, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return 0, bad
		}
		return scale(days, day, bad)
	}
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		return scale(seconds, time.Second, bad)
	}
	parsed, err := time.ParseDuration(text)
	if err != nil || parsed.Abs() > longest {
		return 0, bad
	}
	return parsed, nil
}

// longest leaves room to add to what is configured.
const longest = time.Duration(math.MaxInt64 / 2)

// scale multiplies, and refuses what does not fit (NaN and infinity included).
func scale(number float64, unit time.Duration, bad error) (time.Duration, error) {
	product := number * float64(unit)
	if math.IsNaN(product) || math.Abs(product) > float64(longest) {
		return 0, bad
	}
	return time.Duration(product), nil
}

// shortDuration leaves out the zero minutes and seconds that Go prints.
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// DatabaseURL is a PostgreSQL connection string, as URL or as keywords. It prints without its password.
type DatabaseURL string

// UnmarshalText refuses what pgx can't read.
func (u *DatabaseURL) UnmarshalText(text []byte) error {
	if _, err := pgxpool.ParseConfig(string(text)); err != nil {
		if file, ok := errors.AsType[*fs.PathError](err); ok { // its path stays out of it: what stands there may be a slip of a password
			return errors.New("a file that it names, such as sslrootcert, can't be read: " + file.Err.Error())
		}
		return errors.New("it must be a PostgreSQL connection string such as postgres://user:password@localhost:5432/database")
	}
	*u = DatabaseURL(text)
	return nil
}

// passwordKeyword finds a password among keywords and values: quoted, or up to white space, with
// backslashes that take the next character along. White space is what it is to pgx, which a vertical tab is too.
var passwordKeyword = regexp.MustCompile(`(?is)(password[\s\v]*=[\s\v]*)('(?:[^'\\]|\\.)*'?|(?:[^\s\v\\]|\\.?)+)`)

const hidden = "xxxxx"

// String is the connection string as it was given, without its passwords. Where something of the password would be
// left, because the string is read in a way that is not foreseen here, it is only what pgx read of it.
func (u DatabaseURL) String() string {
	shown := u.hidePasswords()
	read, err := pgx.ParseConfig(string(u))
	if err != nil || !shows(shown, read.Password) {
		return shown
	}
	place := &url.URL{
		Scheme: "postgres", User: url.UserPassword(read.User, hidden), Path: "/" + read.Database,
		Host: net.JoinHostPort(read.Host, strconv.Itoa(int(read.Port))),
	}
	return place.String()
}

// shows says whether a text shows a password, or a part of it that is long enough to tell, in any of the spellings that
// a connection string may have it in.
func shows(text, password string) bool {
	const telling = 5
	decoded, _ := url.PathUnescape(text)
	part := min(telling, len(password))
	for i := 0; part > 0 && i+part <= len(password); i++ {
		for _, spelling := range []string{text, decoded, strings.ReplaceAll(text, `\`, "")} {
			if strings.Contains(spelling, password[i:i+part]) {
				return true
			}
		}
	}
	return false
}

// hidePasswords looks for passwords where pgx does, which reads more than net/url: a password may have # and ?.
func (u DatabaseURL) hidePasswords() string {
	text := string(u)
	if !strings.HasPrefix(text, "postgres://") && !strings.HasPrefix(text, "postgresql://") {
		return passwordKeyword.ReplaceAllString(text, "${1}"+hidden)
	}
	scheme, rest, _ := strings.Cut(text, "://")
	authority, path := rest, ""
	if slash := strings.Index(rest, "/"); slash >= 0 {
		authority, path = rest[:slash], rest[slash:]
	}
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		if user, _, ok := strings.Cut(authority[:at], ":"); ok {
			authority = user + ":" + hidden + authority[at:]
		}
	}
	return scheme + "://" + hideSettings(authority+path)
}

// setting matches one of a URL's settings, up to the next.
var setting = regexp.MustCompile(`[?&][^=?&]*=[^&]*`)

// hideSettings hides passwords among the settings behind a URL's place. A question mark may also be in a user's name,
// or come a second time.
func hideSettings(text string) string {
	return setting.ReplaceAllStringFunc(text, func(found string) string {
		name, value, _ := strings.Cut(found, "=")
		if plain, err := url.PathUnescape(name); err != nil || strings.Contains(strings.ToLower(plain), "password") {
			return name + "=" + hidden
		}
		return name + "=" + hideSettings(value)
	})
}

// LogValue keeps the password out of logs.
func (u DatabaseURL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// MarshalText is for JSON, and for logs of a whole Config.
func (u DatabaseURL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// GoString is for %#v.
func (u DatabaseURL) GoString() string { return u.String() }

func (u DatabaseURL) secret() {}

// HealthAddr is an address to listen on, HOST:PORT or unix:PATH, in which %i stands for the worker's instance, and
// PORT+%i for the sum of both.
type HealthAddr string

// plusInstance is the end of an address whose port is a sum.
const plusInstance = "+%i"

// UnmarshalText refuses what is neither.
func (h *HealthAddr) UnmarshalText(text []byte) error {
	path, isPath := strings.CutPrefix(string(text), "unix:")
	if _, _, err := net.SplitHostPort(string(text)); isPath && path == "" || !isPath && err != nil {
		return errors.New("it must be HOST:PORT, such as 127.0.0.1:19090+%i, or unix:PATH, such as unix:/run/webhook-worker/%i.sock")
	}
	*h = HealthAddr(text)
	return nil
}

// Of is the network and address for an instance; both empty if nothing is to listen. The error names the variable.
func (h HealthAddr) Of(instance string) (network, address string, err error) {
	if h == "" {
		return "", "", nil
	}
	if path, isPath := strings.CutPrefix(string(h), "unix:"); isPath {
		return "unix", strings.ReplaceAll(path, "%i", instance), nil
	}
	address = string(h)
	if base, isSum := strings.CutSuffix(address, plusInstance); isSum {
		host, port, err := net.SplitHostPort(base)
		if err != nil {
			return "", "", fmt.Errorf("WORKER_HEALTH_ADDR=%s is not valid: %w", h, err)
		}
		first, err := strconv.Atoi(port)
		if err != nil {
			return "", "", fmt.Errorf("WORKER_HEALTH_ADDR=%s is not valid: %s is no number that an instance can be added to", h, port)
		}
		number, err := strconv.Atoi(instance)
		if err != nil || number < 0 {
			return "", "", fmt.Errorf("WORKER_HEALTH_ADDR=%s adds the instance to a port, and instance %q is no number: "+
				"use unix:/run/webhook-worker/%%i/health.sock, or a number", h, instance)
		}
		address = net.JoinHostPort(host, strconv.Itoa(first+number))
	}
	address = strings.ReplaceAll(address, "%i", instance)
	if _, port, err := net.SplitHostPort(address); err == nil {
		if number, err := strconv.Atoi(port); err == nil && number > math.MaxUint16 {
			return "", "", fmt.Errorf("WORKER_HEALTH_ADDR=%s is port %d for instance %s, and %d is the highest: "+
				"use a sum, such as 127.0.0.1:19090+%%i", h, number, instance, math.MaxUint16)
		}
	}
	return "tcp", address, nil
}

// Networks is a list of address ranges.
type Networks []netip.Prefix

// UnmarshalText reads CIDRs, or single addresses, with commas between.
func (n *Networks) UnmarshalText(text []byte) error {
	var list Networks
	for item := range strings.SplitSeq(string(text), ",") {
		item = strings.TrimSpace(item)
		if address, err := netip.ParseAddr(item); err == nil && address.Zone() == "" {
			list = append(list, unmapped(netip.PrefixFrom(address, address.BitLen())))
			continue
		}
		prefix, err := netip.ParsePrefix(item)
		if err != nil {
			return fmt.Errorf("%q is not a CIDR such as 10.0.0.0/8", item)
		}
		list = append(list, unmapped(prefix.Masked()))
	}
	*n = list
	return nil
}

// unmapped turns IPv4 networks that are written as IPv6, such as ::ffff:10.0.0.0/104, into IPv4 ones,
// which is how the guard compares addresses.
func unmapped(prefix netip.Prefix) netip.Prefix {
	const mappedBits = 96
	if !prefix.Addr().Is4In6() || prefix.Bits() < mappedBits {
		return prefix
	}
	return netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-mappedBits)
}

func (n Networks) String() string {
	items := make([]string, len(n))
	for i, prefix := range n {
		items[i] = prefix.String()
	}
	return strings.Join(items, ",")
}

// ProxyURL is where an outbound proxy is. It prints without its password, or, where there is none, its user, which
// then is a token.
type ProxyURL struct{ URL *url.URL } // nil: there is none

// UnmarshalText refuses what is no URL of an HTTP proxy.
func (p *ProxyURL) UnmarshalText(text []byte) (err error) {
	p.URL, err = partners.ParseProxyURL(string(text))
	return err
}

func (p ProxyURL) String() string {
	if p.URL == nil {
		return ""
	}
	if password, _ := p.URL.User.Password(); p.URL.User != nil && password == "" {
		shown := *p.URL
		shown.User = url.User("xxxxx")
		return shown.String()
	}
	return p.URL.Redacted()
}

// LogValue keeps the password out of logs.
func (p ProxyURL) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalText is for JSON, and for logs of a whole Config.
func (p ProxyURL) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// GoString is for %#v.
func (p ProxyURL) GoString() string { return p.String() }

func (p ProxyURL) secret() {}

// LogLevel is the least severity that is logged.
type LogLevel slog.Level

// UnmarshalText reads the names of slog, and those of syslog and Python that mean the same.
func (l *LogLevel) UnmarshalText(text []byte) error {
	switch strings.ToUpper(string(text)) {
	case "DEBUG":
		*l = LogLevel(slog.LevelDebug)
	case "INFO":
		*l = LogLevel(slog.LevelInfo)
	case "WARN", "WARNING":
		*l = LogLevel(slog.LevelWarn)
	case "ERROR", "CRITICAL":
		*l = LogLevel(slog.LevelError)
	default:
		return errors.New("it must be DEBUG, INFO, WARNING or ERROR")
	}
	return nil
}

func (l LogLevel) String() string {
	if slog.Level(l) == slog.LevelWarn {
		return "WARNING"
	}
	return slog.Level(l).String()
}

// LogFormat is how a log line is written.
type LogFormat string

// The formats.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// UnmarshalText reads a LogFormat.
func (f *LogFormat) UnmarshalText(text []byte) error {
	switch format := LogFormat(strings.ToLower(string(text))); format {
	case LogText, LogJSON:
		*f = format
		return nil
	}
	return errors.New("it must be text or json")
}
