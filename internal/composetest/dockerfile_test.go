package composetest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// instruction is a line of a Dockerfile, continuation lines included.
type instruction struct{ name, rest string }

// stages reads the Dockerfile, light-heartedly: instructions by stage, without comments.
func stages(t *testing.T) [][]instruction {
	t.Helper()

	content, err := os.ReadFile(root + "/Dockerfile")
	require.NoError(t, err)
	var list [][]instruction
	for line := range strings.SplitSeq(strings.ReplaceAll(string(content), "\\\n", " "), "\n") {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "" || strings.HasPrefix(name, "#") {
			continue
		}
		if name == "FROM" {
			list = append(list, nil)
		}
		require.NotEmpty(t, list, "%s before FROM", name)
		list[len(list)-1] = append(list[len(list)-1], instruction{name, strings.Join(strings.Fields(rest), " ")})
	}
	return list
}

// last returns the last instruction of a name in a stage, the one that counts.
func last(t *testing.T, stage []instruction, name string) string {
	t.Helper()

	for _, line := range slices.Backward(stage) {
		if line.name == name {
			return line.rest
		}
	}
	require.Failf(t, "no such instruction", "%s", name)
	return ""
}

// linkerFlags are what the image's program is linked with.
func linkerFlags(t *testing.T, version string) string {
	t.Helper()

	found := regexp.MustCompile(`-ldflags "([^"]*)"`).FindStringSubmatch(last(t, stages(t)[0], "RUN"))
	require.NotNil(t, found)
	return strings.ReplaceAll(found[1], "$VERSION", version)
}

func TestDockerfile(t *testing.T) {
	t.Parallel()

	all := stages(t)
	require.Len(t, all, 2)
	build, final := all[0], all[1]

	run := last(t, build, "RUN")
	require.Contains(t, run, "CGO_ENABLED=0", "distroless static has no libc")
	require.Contains(t, run, "-trimpath")
	require.Contains(t, run, "-o "+binary+" ./cmd/webhook-worker")
	require.Equal(t, "--from=build "+binary+" "+binary, last(t, final, "COPY"))

	var entrypoint []string
	require.NoError(t, json.Unmarshal([]byte(last(t, final, "ENTRYPOINT")), &entrypoint), "the image has no shell for the other form")
	require.Equal(t, []string{binary}, entrypoint)

	require.Regexp(t, `^[1-9]\d*(:[1-9]\d*)?$`, last(t, final, "USER"), "by number, and not root's")
	require.Contains(t, last(t, final, "LABEL"), "org.opencontainers.image.source=")

	for _, stage := range all {
		require.NotContains(t, last(t, stage, "FROM"), ":latest")
		require.Contains(t, last(t, stage, "FROM"), ":")
	}
	goMod, err := os.ReadFile(root + "/go.mod")
	require.NoError(t, err)
	language := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(goMod)
	require.NotNil(t, language)
	require.Contains(t, last(t, build, "FROM"), "golang:"+string(language[1])+" ")
}

// What .dockerignore keeps out can't be built from.
func TestDockerignore(t *testing.T) {
	t.Parallel()

	content, err := os.ReadFile(root + "/.dockerignore")
	require.NoError(t, err)
	lines := strings.Split(string(content), "\n")
	require.Contains(t, lines, "*", "all that isn't named stays out")
	require.Contains(t, lines, "!go.mod")
	require.Contains(t, lines, "!go.sum")

	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{if .Main}}{{$.Dir}}{{end}}{{end}}", "./cmd/webhook-worker")
	list.Dir = root
	output, err := list.Output()
	require.NoError(t, err)
	module, err := filepath.Abs(root)
	require.NoError(t, err)
	dirs := strings.Fields(string(output))
	require.NotEmpty(t, dirs)
	for _, dir := range dirs {
		inside, err := filepath.Rel(module, dir)
		require.NoError(t, err)
		top, _, _ := strings.Cut(filepath.ToSlash(inside), "/")
		require.Contains(t, lines, "!"+top, "the build needs %s", inside)
	}
}
