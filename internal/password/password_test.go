package password

import (
	"regexp"
	"strings"
	"testing"

	"github.com/alexedwards/argon2id"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
)

// cheap are parameters for tests, in which nobody guesses.
func cheap(t *testing.T, password string) string {
	t.Helper()

	hash, err := argon2id.CreateHash(password, &argon2id.Params{Memory: 64, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32})
	require.NoError(t, err)
	return hash
}

func TestMatches(t *testing.T) {
	t.Parallel()

	const password = "correct horse, 🐴"
	bcrypted, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	require.NoError(t, err)
	hash := string(bcrypted)
	for text, slow := range map[string]bool{
		password:                    false,
		cheap(t, password):          true,
		hash:                        true,
		"$2b$" + hash[len("$2a$"):]: true,
		"$2y$" + hash[len("$2a$"):]: true,
	} {
		stored, err := Parse(text)
		require.NoError(t, err, text)
		require.Equal(t, slow, stored.Slow(), text)
		require.True(t, stored.Matches(password), text)
		for _, wrong := range []string{"", "correct horse", password + " ", strings.ToUpper(password), text + "x"} {
			require.False(t, stored.Matches(wrong), "%s: %q", text, wrong)
		}
		if slow {
			require.False(t, stored.Matches(text), "a hash is not its password")
		}
	}
}

// Passwords of other programs, as they print them.
func TestHashesOfOtherPrograms(t *testing.T) {
	t.Parallel()

	for name, tt := range map[string]struct{ hash, password string }{
		"argon2's command line":  {"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password"},
		"x/crypto's bcrypt test": {"$2a$10$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga", "allmine"},
	} {
		stored, err := Parse(tt.hash)
		require.NoError(t, err, name)
		require.True(t, stored.Matches(tt.password), name)
		require.False(t, stored.Matches(tt.password+"x"), name)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()

	const (
		salt = "c29tZXNhbHRzb21lc2FsdA"
		key  = "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	)
	good := "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + key
	_, err := Parse(good)
	require.NoError(t, err)
	for text, reason := range map[string]string{
		"$argon2id$":                                 "begins like an argon2id hash",
		good + "$":                                   "begins like an argon2id hash",
		good + "!":                                   "begins like an argon2id hash",
		good[:40]:                                    "begins like an argon2id hash",
		good[:51] + key[:8]:                          "its salt must have 8 to 64 bytes and its hash 16 to 64, and they have 16 and 6",
		good[:51]:                                    "they have 16 and 0", // would match everything
		strings.Replace(good, salt, "c29tZQ", 1):     "they have 4 and 32",
		strings.Replace(good, "v=19", "v=16", 1):     "begins like an argon2id hash",
		strings.Replace(good, "t=1", "t=0", 1):       "begins like an argon2id hash",
		strings.Replace(good, "p=1", "p=0", 1):       "begins like an argon2id hash",
		strings.Replace(good, "p=1", "p=256", 1):     "begins like an argon2id hash",
		strings.Replace(good, "m=64", "m=-1", 1):     "begins like an argon2id hash",
		strings.Replace(good, "m=64", "m=262145", 1): "too high: at most m=262144,t=10,p=16, and it has m=262145,t=1,p=1",
		strings.Replace(good, "t=1", "t=11", 1):      "too high",
		strings.Replace(good, "p=1", "p=17", 1):      "too high",
		"$2a$":                                       "begins like a bcrypt hash",
		"$2b$10$short":                               "begins like a bcrypt hash",
		"$2y$10$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcg!": "begins like a bcrypt hash",
		"$2y$03$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga": "begins like a bcrypt hash",
		"$2y$15$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga": "its cost is too high: at most 14, and it has 15",
		"$6$rounds=5000$salt$hash":                                     "a kind that is not known",
		"$argon2i$v=19$m=64,t=1,p=1$" + salt + "$" + key:               "a kind that is not known",
		"$pbkdf2-sha256$29000$salt$hash":                               "a kind that is not known",
		"$y$j9T$salt$hash":                                             "a kind that is not known",
		"=19=65536,t=3,p=4":                                            "what a shell leaves of a hash",
		"=65536,t=3,p=4/abc":                                           "what a shell leaves of a hash",
		"y0":                                                           "what a shell leaves of a hash",
		"b2/wU1qD4aFDcga":                                              "what a shell leaves of a hash",
	} {
		_, err := Parse(text)
		require.ErrorContains(t, err, reason, text)
		for _, part := range []string{key, salt, "XajjQ"} {
			require.NotContains(t, err.Error(), part)
		}
	}
	for _, password := range []string{"$ecret$", "$100$ bill", "a0b", "argon2id", "2b$10$", "a=1,t=2", "$", "$2c$x$"} {
		stored, err := Parse(password)
		require.NoError(t, err, password)
		require.True(t, stored.Matches(password), password)
	}
}

func TestHash(t *testing.T) {
	t.Parallel()

	hash, err := Hash("hunter2")
	require.NoError(t, err)
	require.Regexp(t, `^\$argon2id\$v=19\$m=65536,t=3,p=4\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`, hash)
	again, err := Hash("hunter2")
	require.NoError(t, err)
	require.NotEqual(t, hash, again, "each has a salt of its own")
	stored, err := Parse(hash)
	require.NoError(t, err)
	require.True(t, stored.Matches("hunter2"))
	require.False(t, stored.Matches("hunter3"))
}

// No value makes the check panic, allocate without bound or let everybody in.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"hunter2", "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$", "$2a$04$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga", "=19=65536,t=3,p=4",
	} {
		f.Add(seed)
	}
	// What takes a second to check, as it may, would look like a hang to the fuzzer of a busy machine.
	cheap := regexp.MustCompile(`^\$2[aby]\$0[4-8]\$|\$m=[0-9]{1,4},t=[1-3],`)
	f.Fuzz(func(t *testing.T, text string) {
		stored, err := Parse(text)
		if err == nil && (!stored.Slow() || cheap.MatchString(text)) {
			require.False(t, stored.Matches(text+"x") && stored.Matches("another "+text))
		}
	})
}
