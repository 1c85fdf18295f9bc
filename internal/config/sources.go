package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// fileSuffix makes of a secret variable's name that of the one that names a file with its value.
	fileSuffix = "_FILE"
	// credentialsVariable is set by systemd for services with LoadCredential=.
	credentialsVariable = "CREDENTIALS_DIRECTORY"
	// maxSecretFile bounds what is read of a file, above every secret.
	maxSecretFile = 64 << 10
)

// Source says where a variable's value came from.
type Source string

// The sources.
const (
	FromDefault     Source = "default"
	FromEnvironment Source = "environment"
	FromFile        Source = "file"       // that NAME_FILE names
	FromCredential  Source = "credential" // of systemd, $CREDENTIALS_DIRECTORY/NAME
)

// origin is where a value came from that is not the default.
type origin struct {
	source Source
	path   string // of the file or credential
}

func (o origin) String() string { return strings.TrimSpace(string(o.source) + " " + oneLine(o.path)) }

// WithSecrets is an environment in which the secrets that files and credentials hold have become variables, for
// a process that adds what its environment lacks. The error is one line that names the variable and the file.
func WithSecrets(environ []string) ([]string, error) {
	values := parse(environ)
	origins, err := resolve(values)
	if err != nil {
		return nil, err
	}
	environ = append(slices.Clone(environ), credentialsVariable+"=")
	for name, origin := range origins {
		if origin.path != "" {
			environ = append(environ, name+fileSuffix+"=", name+"="+values[name])
		}
	}
	return environ, nil
}

// parse makes a map of an environment. The last setting of a name counts, and an empty one unsets it.
func parse(environ []string) map[string]string {
	values := make(map[string]string, len(environ))
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if value == "" {
			delete(values, name)
			continue
		}
		values[name] = value
	}
	return values
}

// resolve adds to values the secrets that files and credentials hold, and says where each variable that is set
// came from.
func resolve(values map[string]string) (map[string]origin, error) {
	origins := map[string]origin{}
	for _, variable := range variables() {
		_, isSet := values[variable.Name]
		if isSet {
			origins[variable.Name] = origin{source: FromEnvironment}
		}
		if !variable.Secret {
			continue
		}
		switch path := values[variable.Name+fileSuffix]; {
		case path != "" && isSet:
			return nil, fmt.Errorf("%s and %s%s are both set: unset one of them", variable.Name, variable.Name, fileSuffix)
		case path != "":
			value, err := readSecret(path)
			if err != nil {
				return nil, fmt.Errorf("%s%s=%s %w", variable.Name, fileSuffix, oneLine(path), err)
			}
			values[variable.Name], origins[variable.Name] = value, origin{source: FromFile, path: path}
		case !isSet && values[credentialsVariable] != "":
			path := filepath.Join(values[credentialsVariable], variable.Name)
			value, err := readSecret(path)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("%s: credential %s %w", variable.Name, oneLine(path), err)
			}
			values[variable.Name], origins[variable.Name] = value, origin{source: FromCredential, path: path}
		}
	}
	return origins, nil
}

// readSecret reads a file without the line's end that editors leave. Its error goes on after the file's name,
// and never has of its content.
func readSecret(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", unreadable(err)
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err == nil && info.IsDir() {
		return "", errors.New("is a directory, and must be a file")
	}
	content, err := io.ReadAll(io.LimitReader(file, maxSecretFile+1))
	if err != nil {
		return "", unreadable(err)
	}
	if len(content) > maxSecretFile {
		return "", fmt.Errorf("holds more than %d bytes, which no secret has", maxSecretFile)
	}
	value := strings.TrimRight(string(content), "\r\n")
	if value == "" {
		return "", errors.New("is empty")
	}
	return value, nil
}

// unreadable drops the path of a file's error, which is named already.
func unreadable(err error) error {
	if pathErr, ok := errors.AsType[*os.PathError](err); ok {
		err = pathErr.Err
	}
	return fmt.Errorf("can't be read: %w", err)
}
