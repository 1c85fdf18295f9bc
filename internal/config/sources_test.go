package config

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// write makes a file with a content, and returns its path.
func write(t *testing.T, content string) string {
	t.Helper()

	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// A good value of each secret variable, which has to be in this map.
var secretValues = map[string]string{
	"DATABASE_URL":                "postgres://u:leaky@h/db",
	"DATABASE_DIRECT_URL":         "host=h user=u password=leaky",
	"WEBHOOK_ENCRYPTION_KEY":      testKey,
	"WEBHOOK_ENCRYPTION_KEYS_OLD": testKey + "," + testKey,
	"WEBHOOK_PROXY_URL":           "http://ada:leaky@proxy:3128",
	"WEBHOOK_UI_PASSWORD":         "leaky and spaced ",
}

// secretVariables are all variables whose types are secret, whoever added them.
func secretVariables(t *testing.T) []Variable {
	t.Helper()

	var list []Variable
	for _, variable := range variables() {
		if variable.Secret {
			require.Contains(t, secretValues, variable.Name, "this test needs a value of each secret variable")
			list = append(list, variable)
		}
	}
	require.NotEmpty(t, list)
	return list
}

func TestSecretsFromFilesAndCredentials(t *testing.T) {
	t.Parallel()

	const user = "WEBHOOK_UI_USER=ada" // goes with the password
	for _, variable := range secretVariables(t) {
		name, value := variable.Name, secretValues[variable.Name]
		environ := []string{name + "=" + value}
		if name == "WEBHOOK_UI_PASSWORD" {
			environ = append(environ, user)
		}
		want := load(t, environ...)
		for _, end := range []string{"", "\n", "\r\n", "\n\n"} {
			environ[0] = name + "_FILE=" + write(t, value+end)
			requireValues(t, want, load(t, environ...))

			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(value+end), 0o600))
			environ[0] = "CREDENTIALS_DIRECTORY=" + dir
			requireValues(t, want, load(t, environ...))
		}
	}
	requireValues(t, defaults(), load(t, "CREDENTIALS_DIRECTORY="+t.TempDir(), "WEBHOOK_ENCRYPTION_KEY_FILE="))
	// What is no secret is not looked for in files.
	requireValues(t, defaults(), load(t, "LOG_LEVEL_FILE="+write(t, "DEBUG")))
	// A file may have a key a line.
	require.Len(t, load(t, "WEBHOOK_ENCRYPTION_KEYS_OLD_FILE="+write(t, testKey+"\n"+testKey+"\r\n")).OldEncryptionKeys, 2)
}

// The variable and its file come before the credential, and only one of them may be set.
func TestPrecedenceOfSources(t *testing.T) {
	t.Parallel()

	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "DATABASE_URL"), []byte("postgres:///credential"), 0o600))
	credential, file := "CREDENTIALS_DIRECTORY="+dir, write(t, "postgres:///file")
	for want, environ := range map[string][]string{
		"credential":  {credential},
		"file":        {credential, "DATABASE_URL_FILE=" + file},
		"environment": {credential, "DATABASE_URL=postgres:///environment"},
		"default":     nil,
	} {
		cfg := load(t, environ...)
		if want != "default" {
			require.Equal(t, DatabaseURL("postgres:///"+want), cfg.DatabaseURL)
		}
		for _, variable := range cfg.Variables() {
			if variable.Name != "DATABASE_URL" {
				require.Equal(t, FromDefault, variable.From, variable.Name)
				continue
			}
			require.Equal(t, Source(want), variable.From)
			require.Equal(t, map[string]string{"file": file, "credential": filepath.Join(dir, "DATABASE_URL")}[want], variable.File)
		}
	}
}

func TestRefusedFiles(t *testing.T) {
	t.Parallel()

	const name = "WEBHOOK_ENCRYPTION_KEY"
	missing, dir := filepath.Join(t.TempDir(), "missing"), t.TempDir()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	bad, binary := write(t, "leaky\n"), write(t, "leaky-leaky-leaky-leaky-leaky--2")
	large, huge := write(t, strings.Repeat("A", maxSecretFile)), write(t, strings.Repeat("A", maxSecretFile+1))
	empty, blank := write(t, ""), write(t, "\r\n\n")

	for environ, says := range map[string]string{
		name + "=" + testKey + "\x00" + name + "_FILE=" + bad: name + " and " + name + "_FILE are both set: unset one of them",
		name + "_FILE=" + missing:                             name + "_FILE=" + missing + " can't be read: no such file or directory",
		name + "_FILE=" + missing + "\n":                      name + `_FILE="` + missing + `\n" can't be read: no such file or directory`,
		name + "_FILE=" + dir:                                 name + "_FILE=" + dir + " is a directory, and must be a file",
		name + "_FILE=" + socket:                              name + "_FILE=" + socket + " can't be read: ",
		name + "_FILE=" + empty:                               name + "_FILE=" + empty + " is empty",
		name + "_FILE=" + blank:                               name + "_FILE=" + blank + " is empty",
		name + "_FILE=" + huge:                                name + "_FILE=" + huge + " holds more than 65536 bytes",
		name + "_FILE=" + large:                               name + " (file " + large + ") is not valid: it must be base64 of 32 bytes, and holds",
		name + "_FILE=" + bad:                                 name + " (file " + bad + ") is not valid: it must be base64 of 32 bytes",
		name + "_FILE=" + binary:                              name + " (file " + binary + ") is not valid: it must be base64 of 32 bytes",
		"DATABASE_URL_FILE=" + bad:                            "DATABASE_URL (file " + bad + ") is not valid: it must be a PostgreSQL connection string",
		"CREDENTIALS_DIRECTORY=" + credentials(t, "leaky"):    "/DATABASE_URL) is not valid: it must be a PostgreSQL connection string",
		"CREDENTIALS_DIRECTORY=" + credentials(t, ""):         "DATABASE_URL: credential /",
	} {
		_, err := Load(strings.Split(environ, "\x00"))
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "\n", environ)
		requireHidden(t, err.Error())
	}
}

// credentials is a directory with a DATABASE_URL.
func credentials(t *testing.T, content string) string {
	t.Helper()

	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "DATABASE_URL"), []byte(content), 0o600))
	return dir
}

func TestUnreadableFile(t *testing.T) {
	t.Parallel()

	// Nobody opens a socket as a file, and nobody but root what has no permissions.
	socket := filepath.Join(t.TempDir(), "socket")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	require.NoError(t, err)
	defer listener.Close()
	_, err = Load([]string{"WEBHOOK_ENCRYPTION_KEY_FILE=" + socket})
	require.ErrorContains(t, err, "WEBHOOK_ENCRYPTION_KEY_FILE="+socket+" can't be read: ")

	path := write(t, testKey)
	require.NoError(t, os.Chmod(path, 0))
	_, err = Load([]string{"WEBHOOK_ENCRYPTION_KEY_FILE=" + path})
	if os.Geteuid() == 0 {
		require.NoError(t, err)
		return
	}
	require.EqualError(t, err, "WEBHOOK_ENCRYPTION_KEY_FILE="+path+" can't be read: permission denied")
}

func TestWithSecrets(t *testing.T) {
	t.Parallel()

	before := []string{
		"PATH=/bin", "WEBHOOK_ENCRYPTION_KEY_FILE=" + write(t, testKey+"\n"),
		"CREDENTIALS_DIRECTORY=" + credentials(t, "postgres:///credential"), "LOG_LEVEL=DEBUG",
	}
	after, err := WithSecrets(before)
	require.NoError(t, err)
	requireValues(t, load(t, before...), load(t, after...))
	require.Contains(t, after, "WEBHOOK_ENCRYPTION_KEY="+testKey)
	// What is unset afterwards stays unset.
	require.Empty(t, load(t, append(after, "DATABASE_URL=", "WEBHOOK_ENCRYPTION_KEY=")...).EncryptionKey)
	require.Empty(t, load(t, append(after, "DATABASE_URL=")...).DatabaseURL)

	_, err = WithSecrets([]string{"DATABASE_URL_FILE=/nowhere"})
	require.ErrorContains(t, err, "DATABASE_URL_FILE=/nowhere can't be read")
}
