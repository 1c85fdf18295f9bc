package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/epicvoice/webhook-worker/internal/config"
)

// generated matches a part of a document that is generated, by what its first line says:
//
//	config            the table of environment variables
//	file PATH         a file, as a block of code
//	func PATH NAME    one function of a Go file, as a block of code
//	columns RELATION  the columns of a table or view of the schema
//	sql NAME          a SQL function's signature and comment
var generated = regexp.MustCompile(`(?s)(<!-- generated: ([^\n]*) -->\n).*?(<!-- /generated -->)`)

// document makes a document with its generated parts made anew.
func (d *database) document(path string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		current, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("can't be read: %w", err)
		}
		var failures []error
		text := generated.ReplaceAllStringFunc(string(current), func(part string) string {
			match := generated.FindStringSubmatch(part)
			content, err := d.generate(ctx, strings.Fields(match[2]))
			if err != nil {
				failures = append(failures, fmt.Errorf("part %q: %w", match[2], err))
			}
			return match[1] + content + match[3]
		})
		return text, errors.Join(failures...)
	}
}

func (d *database) generate(ctx context.Context, words []string) (string, error) {
	switch {
	case len(words) == 1 && words[0] == "config":
		return configTable()
	case len(words) == 2 && words[0] == "file":
		content, err := os.ReadFile(words[1])
		if err != nil {
			return "", fmt.Errorf("reading code: %w", err)
		}
		return codeBlock(words[1], string(content)), nil
	case len(words) == 3 && words[0] == "func":
		return function(words[1], words[2])
	case len(words) == 2 && words[0] == "columns":
		return d.columns(ctx, words[1])
	case len(words) == 2 && words[0] == "sql":
		return d.function(ctx, words[1])
	}
	return "", errors.New("unknown kind of generated part")
}

func configTable() (string, error) {
	cfg, err := config.Load(nil)
	if err != nil {
		return "", err
	}
	var (
		text    strings.Builder
		secrets []string
	)
	text.WriteString("| Variable | Default | Meaning |\n|---|---|---|\n")
	for _, variable := range cfg.Variables() {
		value := ""
		if variable.Default != "" {
			value = "`" + variable.Default + "`"
		}
		fmt.Fprintf(&text, "| `%s` | %s | %s |\n", variable.Name, value, strings.ReplaceAll(variable.Help, "|", `\|`))
		if variable.Secret {
			secrets = append(secrets, "`"+variable.Name+"`")
		}
	}
	fmt.Fprintf(&text, "\nSecrets may be in files: `NAME_FILE=/path` instead of `NAME`, or a systemd credential called `NAME`. That goes for\n%s.\n",
		strings.Join(secrets, ",\n"))
	return text.String(), nil
}

// function is the source of one function, with its comment.
func function(path, name string) (string, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, parser.ParseComments)
	if err != nil {
		return "", fmt.Errorf("reading code: %w", err)
	}
	for _, declaration := range file.Decls {
		found, ok := declaration.(*ast.FuncDecl)
		if !ok || found.Name.Name != name {
			continue
		}
		var comments []*ast.CommentGroup
		for _, comment := range file.Comments {
			if comment.Pos() >= found.Pos() && comment.End() <= found.End() {
				comments = append(comments, comment)
			}
		}
		var code bytes.Buffer
		if err := format.Node(&code, files, &ast.File{Name: ast.NewIdent("x"), Decls: []ast.Decl{found}, Comments: comments}); err != nil {
			return "", fmt.Errorf("writing code: %w", err)
		}
		_, body, _ := strings.Cut(code.String(), "\n\n")
		return codeBlock(path, body), nil
	}
	return "", fmt.Errorf("no function %s in %s", name, path)
}

// codeBlock is a fenced block in the language of the file's name.
func codeBlock(path, code string) string {
	language := map[string]string{
		".go": "go", ".java": "java", ".mjs": "js", ".php": "php", ".py": "python", ".rb": "ruby",
	}[filepath.Ext(path)]
	return "```" + language + "\n" + strings.TrimSpace(code) + "\n```\n"
}
