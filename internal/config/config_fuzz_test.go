package config

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// Whatever a variable is set to, it is either refused in one line that names it and shows no secret, or shown by
// `webhook-worker config` in a way that means the same when it is set to that.
func FuzzLoad(f *testing.F) {
	list := variables()
	for i := range list {
		f.Add(uint8(i), list[i].Default)
	}
	for _, value := range []string{
		"90d", "1h30m", "0.5", "-1", "1e9", "NaN", "0x1p-2d", "2562047h", "1ns", "10m0s", "\n", "30 ", "true", "T",
		"80,443,8000-9999", "1-65535, 7", "10.0.0.0/8, ::1,::ffff:10.0.0.0/104", "fe80::1%eth0", "unix:/run/%i.sock", ":0", "[::1]:909%i",
		"postgres://u:p@h/db", "password=p host=h", strings.Repeat("A", 43) + "=", "warn", "JSON",
	} {
		for i := range list {
			if _, err := Load([]string{list[i].Name + "=" + value}); err == nil || i == 0 {
				f.Add(uint8(i), value)
			}
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, value string) {
		variable := list[int(which)%len(list)]
		environment := []string{variable.Name + "=" + value}
		if strings.HasPrefix(variable.Name, "WEBHOOK_UI_") {
			environment = append([]string{"WEBHOOK_UI_USER=ada", "WEBHOOK_UI_PASSWORD=lovelace"}, environment...)
		}
		if variable.Secret {
			for _, at := range []int{0, len(value) / 2, len(value)} {
				if _, err := Load(append(environment, variable.Name+"="+value[:at]+leaky+value[at:])); err != nil {
					require.NotContains(t, err.Error(), leaky)
				}
			}
		}
		cfg, err := Load(environment)
		if err != nil {
			require.NotContains(t, err.Error(), "\n")
			require.Contains(t, err.Error(), variable.Name)
			return
		}
		shown := environment
		for _, variable := range cfg.Variables() {
			if !variable.Secret {
				shown = append(shown, variable.Name+"="+variable.Value)
			}
		}
		again, err := Load(shown)
		require.NoError(t, err, "%q", shown)
		cfg.origins, again.origins = nil, nil
		require.Equal(t, cfg, again)
		for _, length := range []time.Duration{cfg.WorkerTimeout.Std(), cfg.RetryMaxDelay.Std(), cfg.RetentionEvents.Std()} {
			require.LessOrEqual(t, length, longest, "there is room to add to it")
		}
	})
}

const leaky = "leakyleaky"

// Where pgx finds a password, printing the connection string hides it.
func FuzzDatabaseURL(f *testing.F) {
	for _, seed := range [][2]string{
		{"postgres://u:", "@h/db"},
		{"postgres://u:a#b?c", "@h:5432/db?sslmode=disable"},
		{"postgresql://u:p%40", "@h,i:1/db"},
		{"postgres://u@h/db?password=", "&sslmode=disable"},
		{"postgres://h/db?pass%77ord=", ""},
		{"postgres://u:@h/db?user=x&password=", "#"},
		{"password=", ""},
		{"host=h password = 'it\\'s ", "' user=u"},
		{"user=u PASSWORD=", "\\ x"},
		{"sslpassword=x password=", ""},
		{"postgres://u:a/b", "@h/db"},
		{"postgres://u:a@", "@h/db"},
		{"\tpostgres://u:", "@h/db"},
		{"password='x'password=", ""},
		{"password='00'0=", ""},
		{"postgres://a:b@c:", "@e"},
		{"host='a password=b' password=", " user=u"},
		{"postgres://u:x@h/db?a=b&&password=", "&a"},
		{"postgres://[::1]:5/db?password=", ";x"},
		{"postgres://h/db?password=a?", ""},
		{"postgres://h/db?x=1?password=", ""},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		given := before + leaky + after
		var url DatabaseURL
		if err := url.UnmarshalText([]byte(given)); err != nil {
			require.NotContains(t, err.Error(), leaky)
			return
		}
		parsed, err := pgxpool.ParseConfig(given)
		require.NoError(t, err)
		if again, err := pgx.ParseConfig(url.String()); err == nil && parsed.ConnConfig.Password != "" && again.Password != "" {
			require.True(t, strings.HasPrefix(again.Password, hidden), "%q leaves %q", given, again.Password)
		}
		if !strings.Contains(parsed.ConnConfig.Password, leaky) {
			return // it was the name of a host or the like
		}
		for _, shown := range []string{url.String(), fmt.Sprintf("%v %+v %s %q %#v", url, url, url, url, url)} {
			require.NotContains(t, shown, leaky, "%q", given)
		}
	})
}
