// Package docstest checks the documents: that what they link to is there, and that their queries run.
package docstest

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

func TestMain(m *testing.M) { testdb.Main(m) }

const root = "../.."

var (
	fence   = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	code    = regexp.MustCompile("`[^`\n]*`")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.*)$`)
	address = regexp.MustCompile(`https://github\.com/epicvoice/webhook-worker/blob/main/([^\s"'#]+)(?:#([^\s"']+))?`)
)

func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, path := range files(t, ".md") {
		text := fence.ReplaceAllString(read(t, path), "")
		for _, match := range link.FindAllStringSubmatch(code.ReplaceAllString(text, "`"), -1) {
			target, err := url.Parse(match[1])
			require.NoError(t, err, path)
			if target.Scheme != "" {
				continue
			}
			checked++
			to := path
			if target.Path != "" {
				to = filepath.Join(filepath.Dir(path), target.Path)
			}
			require.FileExists(t, filepath.Join(root, to), "%s links to %s", path, match[1])
			if target.Fragment != "" {
				require.True(t, slices.Contains(anchors(read(t, to)), target.Fragment), "%s links to %s", path, match[1])
			}
		}
	}
	require.Greater(t, checked, 30, "the links are found")
}

// TestAddressesOfDocumentsLeadSomewhere looks at what else names a document by its address: manifests, rules, units.
func TestAddressesOfDocumentsLeadSomewhere(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, path := range files(t, ".yaml", ".json", ".service", ".target", ".example") {
		for _, match := range address.FindAllStringSubmatch(read(t, path), -1) {
			checked++
			require.FileExists(t, filepath.Join(root, match[1]), "%s names %s", path, match[0])
			if match[2] != "" {
				require.True(t, slices.Contains(anchors(read(t, match[1])), match[2]), "%s names %s", path, match[0])
			}
		}
	}
	require.NotZero(t, checked, "the addresses are found")
}

// TestEachDocumentIsListed sees that README.md leads to every page of docs.
func TestEachDocumentIsListed(t *testing.T) {
	t.Parallel()
	var listed []string
	for _, match := range link.FindAllStringSubmatch(read(t, "README.md"), -1) {
		listed = append(listed, match[1])
	}
	for _, path := range files(t, ".md") {
		if filepath.Dir(path) == "docs" {
			require.Contains(t, listed, filepath.ToSlash(path))
		}
	}
}

func TestAnchors(t *testing.T) {
	t.Parallel()
	text := "# One, two: `three_4`\n\n```bash\n# no heading\n```\n\n## Retry-After\n## Retry-After\n### What's new?\n"
	require.Equal(t, []string{"one-two-three_4", "retry-after", "retry-after-1", "whats-new"}, anchors(text))
}

// files are the repository's files of some kinds, as paths from its root.
func files(t *testing.T, extensions ...string) []string {
	t.Helper()
	var paths []string
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git" || entry.Name() == "testdata" || entry.Name() == "dist"):
			return filepath.SkipDir
		case slices.Contains(extensions, filepath.Ext(path)):
			relative, err := filepath.Rel(root, path)
			paths = append(paths, relative)
			return err
		}
		return nil
	}))
	return paths
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	require.NoError(t, err)
	return string(content)
}

// anchors are those that GitHub gives to the headings of a document.
func anchors(markdown string) []string {
	var found []string
	seen := map[string]int{}
	for _, match := range heading.FindAllStringSubmatch(fence.ReplaceAllString(markdown, ""), -1) {
		anchor := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsNumber(r):
				return unicode.ToLower(r)
			}
			return -1
		}, match[1])
		if n := seen[anchor]; n > 0 {
			found = append(found, anchor+"-"+strconv.Itoa(n))
		} else {
			found = append(found, anchor)
		}
		seen[anchor]++
	}
	return found
}
