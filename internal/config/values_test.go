package config

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func networks(cidrs ...string) Networks {
	list := make(Networks, len(cidrs))
	for i, cidr := range cidrs {
		list[i] = netip.MustParsePrefix(cidr)
	}
	return list
}

func TestDuration(t *testing.T) {
	t.Parallel()

	for text, tt := range map[string]struct {
		want  time.Duration
		shown string
	}{
		"30":         {30 * time.Second, "30s"},
		"0":          {0, "0s"},
		"0.5":        {500 * time.Millisecond, "500ms"},
		"-5":         {-5 * time.Second, "-5s"},
		"1e3":        {1000 * time.Second, "16m40s"},
		"90s":        {90 * time.Second, "1m30s"},
		"1h30m":      {90 * time.Minute, "1h30m"},
		"3600":       {time.Hour, "1h"},
		"600":        {10 * time.Minute, "10m"},
		"3601":       {3601 * time.Second, "1h0m1s"},
		"250ms":      {250 * time.Millisecond, "250ms"},
		"1d":         {24 * time.Hour, "24h"},
		"1.5d":       {36 * time.Hour, "36h"},
		"36h":        {36 * time.Hour, "36h"},
		"86400":      {24 * time.Hour, "24h"},
		"3155760000": {100 * 8766 * time.Hour, "876600h"},
	} {
		var duration Duration
		require.NoError(t, duration.UnmarshalText([]byte(text)), text)
		require.Equal(t, tt.want, duration.Std(), text)
		require.Equal(t, tt.shown, duration.String(), text)
	}
	for _, text := range []string{"", " ", "30 ", " 30", "30\n", "thirty", "30 s", "d", "1d12h", "1w", "s", "1,5", "1:30", "--1", "1281024h", "-1281024h", "53400d", "1e300", "NaN", "inf"} {
		var duration Duration
		require.ErrorContains(t, duration.UnmarshalText([]byte(text)), "it must be seconds, such as 30, or a duration", text)
	}
}

func TestRetention(t *testing.T) {
	t.Parallel()

	for text, tt := range map[string]struct {
		want  time.Duration
		shown string
	}{
		"-1":   {-1, "-1"},
		"90d":  {90 * 24 * time.Hour, "90d"},
		"24h":  {24 * time.Hour, "1d"},
		"0.5d": {12 * time.Hour, "12h"},
		"3600": {time.Hour, "1h"},
		"90s":  {90 * time.Second, "1m30s"},
	} {
		var retention Retention
		require.NoError(t, retention.UnmarshalText([]byte(text)), text)
		require.Equal(t, tt.want, retention.Std(), text)
		require.Equal(t, tt.shown, retention.String(), text)
	}
	for _, text := range []string{"", "0", "0d", "-2", "-1s", "-1d", "-1ns", "for ever", "0.0000000001"} {
		var retention Retention
		require.Error(t, retention.UnmarshalText([]byte(text)), text)
	}
}

func TestRetentionShorterThan(t *testing.T) {
	t.Parallel()

	require.True(t, Retention(time.Hour).shorterThan(Retention(2*time.Hour)))
	require.True(t, Retention(time.Hour).shorterThan(Forever))
	require.False(t, Retention(time.Hour).shorterThan(Retention(time.Hour)))
	require.False(t, Forever.shorterThan(Retention(time.Hour)))
	require.False(t, Forever.shorterThan(Forever))
}

func TestDatabaseURLHidesPasswords(t *testing.T) {
	t.Parallel()

	for text, shown := range map[string]string{
		"":                                  "",
		"postgres://u@h/db?sslmode=disable": "postgres://u@h/db?sslmode=disable",
		"postgres://h":                      "postgres://h",
		"postgres://u:leaky@h/db":           "postgres://u:xxxxx@h/db",
		"postgresql://u:leaky@h:5432/db?sslmode=disable":    "postgresql://u:xxxxx@h:5432/db?sslmode=disable",
		"postgres://:leaky@h/db":                            "postgres://:xxxxx@h/db",
		"postgres://u:leaky%40@h/db":                        "postgres://u:xxxxx@h/db",
		"postgres://u:leaky:leaky@h/db":                     "postgres://u:xxxxx@h/db",
		"postgres://u:leaky#leaky@h/db":                     "postgres://u:xxxxx@h/db",
		"postgres://u:leaky?leaky@h/db":                     "postgres://u:xxxxx@h/db",
		"postgres://u:leaky[leaky@h/db":                     "postgres://u:xxxxx@h/db",
		"postgres://u:leaky@leaky@h/db":                     "postgres://u:xxxxx@h/db",
		"postgres://u:leaky@h1:1,h2:2/db":                   "postgres://u:xxxxx@h1:1,h2:2/db",
		"postgres://u:leaky@[::1]:5432/db":                  "postgres://u:xxxxx@[::1]:5432/db",
		"postgres://u:leaky@/db?host=/run/postgresql":       "postgres://u:xxxxx@/db?host=/run/postgresql",
		"postgres://h/db?user=u&password=leaky&sslmode=off": "postgres://h/db?user=u&password=xxxxx&sslmode=off",
		"postgres://h/db?password=leaky;leaky":              "postgres://h/db?password=xxxxx",
		"postgres://h/db?pass%77ord=leaky":                  "postgres://h/db?pass%77ord=xxxxx",
		"postgres://h/db?PASSWORD=leaky":                    "postgres://h/db?PASSWORD=xxxxx",
		"postgres://h/db?sslpassword=leaky":                 "postgres://h/db?sslpassword=xxxxx",
		"postgres://u:leaky@h?password=leaky":               "postgres://u:xxxxx@h?password=xxxxx",
		"postgres://h?password=leaky":                       "postgres://h?password=xxxxx",
		"host=h user=u dbname=db":                           "host=h user=u dbname=db",
		"host=h password=leaky user=u":                      "host=h password=xxxxx user=u",
		"password=leaky":                                    "password=xxxxx",
		"host=h PASSWORD = leaky user=u":                    "host=h PASSWORD = xxxxx user=u",
		"host=h password='leaky leaky' user=u":              "host=h password=xxxxx user=u",
		`host=h password='leaky\' leaky' user=u`:            "host=h password=xxxxx user=u",
		`host=h password=leaky\ leaky user=u`:               "host=h password=xxxxx user=u",
		`host=h password=leaky\'leaky user=u`:               "host=h password=xxxxx user=u",
		"host=h password=leaky&leaky user=u":                "host=h password=xxxxx user=u",
		"host=h password=leaky://leaky user=u":              "host=h password=xxxxx user=u",
		"host=h password=leaky\nuser=u":                     "host=h password=xxxxx\nuser=u",
		"host=h password\v=\vleaky\vuser=u":                 "host=h password\v=\vxxxxx\vuser=u",
		"host=h sslpassword=leaky user=u":                   "host=h sslpassword=xxxxx user=u",
	} {
		if _, err := pgx.ParseConfig(text); err != nil {
			require.Contains(t, text, "sslmode=off", "%s: %v", text, err) // refused for another reason
		}
		require.Equal(t, shown, DatabaseURL(text).String())
		require.Equal(t, shown, DatabaseURL(text).LogValue().String())
		require.Equal(t, shown, DatabaseURL(text).GoString())
	}
}

func TestEncryptionKey(t *testing.T) {
	t.Parallel()

	for _, text := range []string{testKey, testKey + "\n", testKey + "\r\n", " \t" + testKey + " "} {
		var key EncryptionKey
		require.NoError(t, key.UnmarshalText([]byte(text)), "%q", text)
		require.Equal(t, testKeyBytes(), key)
	}
	for _, text := range []string{
		"", "\n", strings.TrimRight(testKey, "="), strings.Repeat("ab", 32), testKey + testKey, testKey[4:], testKey + "AAAA", "-" + testKey[1:], strings.Repeat("x", 32),
	} {
		var key EncryptionKey
		require.ErrorContains(t, key.UnmarshalText([]byte(text)), "it must be base64 of 32 bytes", text)
		require.Empty(t, key)
	}
}

func TestNetworks(t *testing.T) {
	t.Parallel()

	for text, want := range map[string]Networks{
		"10.0.0.0/8":                    networks("10.0.0.0/8"),
		"10.1.2.3/8":                    networks("10.0.0.0/8"),
		"127.0.0.1":                     networks("127.0.0.1/32"),
		"::1, 10.0.0.0/8 ,fd00::/8":     networks("::1/128", "10.0.0.0/8", "fd00::/8"),
		"0.0.0.0/0,::/0":                networks("0.0.0.0/0", "::/0"),
		"::ffff:127.0.0.1":              networks("127.0.0.1/32"), // the guard knows it as IPv4
		"::ffff:10.0.0.0/104":           networks("10.0.0.0/8"),
		"::ffff:0.0.0.0/96, ::ffff:0/0": networks("0.0.0.0/0", "::/0"),
	} {
		var list Networks
		require.NoError(t, list.UnmarshalText([]byte(text)), text)
		require.Equal(t, want, list, text)
		var again Networks
		require.NoError(t, again.UnmarshalText([]byte(list.String())))
		require.Equal(t, list, again)
	}
	for _, text := range []string{"", ",", "10.0.0.0/8,", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/-1", "localhost", "10.0.0.0-10.0.0.9", "fe80::1%eth0", "fe80::%eth0/10", "10.0.0.0/8 10.1.0.0/16"} {
		var list Networks
		require.ErrorContains(t, list.UnmarshalText([]byte(text)), "is not a CIDR", text)
	}
}

func TestLogLevelAndFormat(t *testing.T) {
	t.Parallel()

	for text, want := range map[string]slog.Level{
		"DEBUG": slog.LevelDebug, "debug": slog.LevelDebug, "Info": slog.LevelInfo, "WARN": slog.LevelWarn, "warning": slog.LevelWarn,
		"ERROR": slog.LevelError, "CRITICAL": slog.LevelError,
	} {
		var level LogLevel
		require.NoError(t, level.UnmarshalText([]byte(text)))
		require.Equal(t, want, slog.Level(level))
	}
	for level, want := range map[slog.Level]string{
		slog.LevelDebug: "DEBUG", slog.LevelInfo: "INFO", slog.LevelWarn: "WARNING", slog.LevelError: "ERROR",
	} {
		require.Equal(t, want, LogLevel(level).String())
	}
	for _, text := range []string{"", "LOUD", "10", "INFO+1"} {
		var level LogLevel
		require.Error(t, level.UnmarshalText([]byte(text)), text)
		var format LogFormat
		require.Error(t, format.UnmarshalText([]byte(text)), text)
	}
	for _, text := range []string{"text", "JSON", "json"} {
		var format LogFormat
		require.NoError(t, format.UnmarshalText([]byte(text)))
		require.Equal(t, LogFormat(strings.ToLower(text)), format)
	}
}

// Where the place of a password is not foreseen only what pgx read of the connection string is shown.
func TestDatabaseURLShowsNoPartOfItsPassword(t *testing.T) {
	t.Parallel()

	require.False(t, shows("postgres://u:xxxxx@h/db", "leaky"))
	require.False(t, shows("postgres://u:xxxxx@h/db", ""))
	for _, text := range []string{"postgres://h/?x=leakyleaky", "eakyl", "x=leak%79", `x=le\aky`} {
		require.True(t, shows(text, "leakyleaky"), text)
	}
	require.Equal(t, "postgres://postgres:xxxxx@h:5432/db", DatabaseURL("postgres://postgres:postgres@h/db?sslmode=disable").String())
}

// Proxies of a service take a token as the user, without a password.
func TestProxyURLShowsNoToken(t *testing.T) {
	t.Parallel()

	for text, shown := range map[string]string{
		"http://proxy:3128":        "http://proxy:3128",
		"http://u:leaky@proxy:80":  "http://u:xxxxx@proxy:80",
		"http://:leaky@proxy:80":   "http://:xxxxx@proxy:80",
		"http://leaky@proxy:3128":  "http://xxxxx@proxy:3128",
		"http://leaky:@proxy:3128": "http://xxxxx@proxy:3128",
	} {
		var proxy ProxyURL
		require.NoError(t, proxy.UnmarshalText([]byte(text)))
		require.Equal(t, shown, proxy.String())
	}
}
