//go:build ssrf

// Package ssrf tries to make the built program call what it must not. It runs in a network namespace of its own
// in which every address there is leads to this machine: what slips through the guard arrives at the tests' own
// listeners, and nothing leaves.
package ssrf

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

var reportFile = flag.String("ssrf.report", "", "Markdown file that takes the table of refusals, if all tests pass")

// inside names the directory that the process outside the namespace made for the one inside.
const inside = "SSRF_TEST_DIR"

// dir holds the built program and what the tests write.
var dir = os.Getenv(inside)

func TestMain(m *testing.M) {
	flag.Parse()
	if dir == "" {
		os.Exit(enterNamespace())
	}
	if err := setUpNetwork(); err != nil {
		fmt.Fprintln(os.Stderr, "ssrf:", err)
		os.Exit(1)
	}
	testdb.Main(m)
}

// enterNamespace builds the program, runs the tests in namespaces of their own and returns their exit status.
func enterNamespace() int {
	made, err := os.MkdirTemp("", "webhook-worker-ssrf-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "ssrf: making a directory:", err)
		return 1
	}
	defer os.RemoveAll(made)
	build := exec.CommandContext(context.Background(), "go", "build", "-o", filepath.Join(made, "webhook-worker"),
		"github.com/epicvoice/webhook-worker/cmd/webhook-worker")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is released, with Go's own resolver
	if output, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "ssrf: building the program: %v: %s\n", err, output)
		return 1
	}

	runtime.LockOSThread() // the death signal below is of the thread that starts the process
	tests := exec.CommandContext(context.Background(), "/proc/self/exe", os.Args[1:]...)
	tests.Env = append(os.Environ(), inside+"="+made)
	tests.Stdout, tests.Stderr = os.Stdout, os.Stderr
	tests.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err = tests.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode()
	case errors.Is(err, syscall.EPERM):
		fmt.Fprintln(os.Stderr, "ssrf: these tests make a network namespace, which only root may")
		return 1
	case err != nil:
		fmt.Fprintln(os.Stderr, "ssrf: starting the tests:", err)
		return 1
	}
	return 0
}

// setUpNetwork leads every address to this machine, and name look-ups to the tests' own server.
func setUpNetwork() error {
	resolv := filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver 127.0.0.1\n"), 0o644); err != nil {
		return err
	}
	for _, command := range [][]string{
		{"ip", "link", "set", "lo", "up"},
		{"ip", "-4", "route", "add", "local", "default", "dev", "lo"},
		{"ip", "-6", "route", "add", "local", "default", "dev", "lo"},
		{"mount", "--bind", resolv, "/etc/resolv.conf"},
	} {
		if output, err := exec.CommandContext(context.Background(), command[0], command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", command, err, output)
		}
	}
	return nil
}
