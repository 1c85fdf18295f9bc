//go:build faults

package faults

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// worldsAtOnce is how many scenarios run at a time unless -parallel says otherwise: most of their time is
// waiting.
const worldsAtOnce = "4"

var (
	soakFor    = flag.Duration("faults.soak", 20*time.Second, "how long the random faults go on")
	seed       = flag.Uint64("faults.seed", 0, "seed of the random faults; 0: a random one")
	reportFile = flag.String("faults.report", "", "Markdown file that takes the table of results, if all tests pass")
)

// shared is what all worlds of a run use.
var shared struct {
	dir    string // open to the account that runs PostgreSQL
	binary string
	report report
}

func TestMain(m *testing.M) {
	flag.Parse()
	if *seed == 0 {
		*seed = rand.Uint64N(1 << 32)
	}
	if !isSet("test.parallel") {
		_ = flag.Set("test.parallel", worldsAtOnce)
	}
	goleak.VerifyTestMain(suite{m})
}

func isSet(name string) bool {
	found := false
	flag.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

// suite runs the tests between the building of the binary and the printing of the table.
type suite struct {
	tests *testing.M
}

func (s suite) Run() int {
	lock, err := prepare()
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		return 1
	}
	fmt.Fprintf(os.Stderr, "faults: seed %d\n", *seed)
	code := s.tests.Run()
	if err := shared.report.finish(os.Stderr, *reportFile, code == 0); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		code = max(code, 1)
	}
	_ = os.RemoveAll(shared.dir)
	_ = lock.Close()
	return code
}

// prepare makes the run's directory, which stays locked while the run lives, and builds the binary.
func prepare() (lock *os.File, err error) {
	const prefix = "webhook-worker-faults-"
	removeAbandoned(filepath.Join(os.TempDir(), prefix+"*"))
	if shared.dir, err = os.MkdirTemp("", prefix); err != nil {
		return nil, fmt.Errorf("making a directory: %w", err)
	}
	if err := os.Chmod(shared.dir, 0o711); err != nil {
		return nil, fmt.Errorf("opening the directory: %w", err)
	}
	if lock, err = takeLock(shared.dir); err != nil {
		return nil, fmt.Errorf("locking the directory: %w", err)
	}
	shared.binary = filepath.Join(shared.dir, "webhook-worker")
	build := exec.CommandContext(context.Background(), "go", "build", "-o", shared.binary, "github.com/epicvoice/webhook-worker/cmd/webhook-worker")
	if output, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the binary: %w: %s", err, output)
	}
	return lock, nil
}

// takeLock fails if another process has the directory's lock.
func takeLock(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// removeAbandoned removes the directories of runs that were killed.
func removeAbandoned(pattern string) {
	found, _ := filepath.Glob(pattern) // the pattern is well formed
	for _, dir := range found {
		if lock, err := takeLock(dir); err == nil {
			_ = os.RemoveAll(dir)
			_ = lock.Close()
		}
	}
}
