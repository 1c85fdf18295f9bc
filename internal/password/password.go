// Package password checks passwords against what a configuration holds of one: the password itself, or its
// bcrypt or argon2id hash.
package password

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/alexedwards/argon2id"
	"golang.org/x/crypto/bcrypt"
)

// A hash says itself what a check costs. These bound it to about a second and a quarter of a GiB. There are no
// lower bounds than the algorithms' own, since the password itself will do too.
const (
	maxBcryptCost = 14
	maxMemory     = 256 << 10 // KiB
	maxIterations = 10
	maxThreads    = 16
	minSalt       = 8
	minKey        = 16
	maxBytes      = 64 // of a salt or a key
)

// Errors name neither the value nor a part of it.
var (
	errArgon2id = errors.New("it begins like an argon2id hash and is none: want $argon2id$v=19$m=…,t=…,p=…$salt$hash, as webhook-worker keys hash-password prints it")
	errBcrypt   = errors.New("it begins like a bcrypt hash and is none: want $2b$, two digits, $ and 53 characters")
	errUnknown  = errors.New("it looks like a hash of a kind that is not known here: use argon2id (webhook-worker keys hash-password) or bcrypt")
	errExpanded = errors.New("it looks like what a shell leaves of a hash: put the hash into single quotes")
)

var (
	bcryptHash = regexp.MustCompile(`^\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$`)

	// unknownHash is how hashes of other kinds begin, which would be passwords that their users do not know.
	unknownHash = regexp.MustCompile(`^\$(1|2|2x|5|6|7|y|gy|apr1|argon2i|argon2d|scrypt|pbkdf2[a-z0-9-]*)\$`)

	// expandedHash is a hash whose variables were replaced by nothing: what is left is the same for everybody.
	expandedHash = regexp.MustCompile(`^(=[0-9]+)?=[0-9]+,t=[0-9]+,p=[0-9]+|^[aby][0-9]([./][./A-Za-z0-9]*)?$`)
)

// Stored is what a password is checked against.
type Stored struct {
	matches func(password string) bool
	slow    bool
}

// Parse reads a password, or the hash of one, told apart by how it begins.
func Parse(text string) (*Stored, error) {
	switch {
	case strings.HasPrefix(text, "$argon2id$"):
		return parseArgon2id(text)
	case strings.HasPrefix(text, "$2a$"), strings.HasPrefix(text, "$2b$"), strings.HasPrefix(text, "$2y$"):
		return parseBcrypt(text)
	case unknownHash.MatchString(text):
		return nil, errUnknown
	case expandedHash.MatchString(text):
		return nil, errExpanded
	}
	want := sha256.Sum256([]byte(text))
	return &Stored{matches: func(password string) bool {
		got := sha256.Sum256([]byte(password))
		return subtle.ConstantTimeCompare(got[:], want[:]) == 1
	}}, nil
}

func parseArgon2id(hash string) (*Stored, error) {
	params, salt, key, err := argon2id.DecodeHash(hash)
	if err != nil || params.Iterations == 0 || params.Parallelism == 0 {
		return nil, errArgon2id
	}
	switch {
	case params.Memory > maxMemory || params.Iterations > maxIterations || params.Parallelism > maxThreads:
		return nil, fmt.Errorf("its parameters are too high: at most m=%d,t=%d,p=%d, and it has m=%d,t=%d,p=%d",
			maxMemory, maxIterations, maxThreads, params.Memory, params.Iterations, params.Parallelism)
	// A hash that was cut short would match many passwords, an empty one all.
	case len(salt) < minSalt || len(salt) > maxBytes || len(key) < minKey || len(key) > maxBytes:
		return nil, fmt.Errorf("its salt must have %d to %d bytes and its hash %d to %d, and they have %d and %d",
			minSalt, maxBytes, minKey, maxBytes, len(salt), len(key))
	}
	return &Stored{slow: true, matches: func(password string) bool {
		same, err := argon2id.ComparePasswordAndHash(password, hash)
		return err == nil && same
	}}, nil
}

func parseBcrypt(hash string) (*Stored, error) {
	if !bcryptHash.MatchString(hash) {
		return nil, errBcrypt
	}
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil {
		return nil, errBcrypt
	}
	if cost > maxBcryptCost {
		return nil, fmt.Errorf("its cost is too high: at most %d, and it has %d", maxBcryptCost, cost)
	}
	return &Stored{slow: true, matches: func(password string) bool {
		return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
	}}, nil
}

// Matches says whether this is the password, in a time that does not depend on how much of it is right.
func (s *Stored) Matches(password string) bool { return s.matches(password) }

// Slow says whether a check takes long, and memory, on purpose.
func (s *Stored) Slow() bool { return s.slow }

// Hash makes an argon2id hash, with the second of the two sets of parameters that RFC 9106 recommends.
func Hash(password string) (string, error) {
	hash, err := argon2id.CreateHash(password, &argon2id.Params{
		Memory: 64 << 10, Iterations: 3, Parallelism: 4, SaltLength: 16, KeyLength: 32,
	})
	if err != nil {
		return "", fmt.Errorf("hashing a password: %w", err)
	}
	return hash, nil
}
