package main

import (
	"strings"

	"github.com/epicvoice/webhook-worker/partners"
)

// headers reads --header and --secret-header; nil maps if there are none. A secret header without "=" has no
// value, which on update keeps the one that it has. secret is the command's --secret, if it has one: of all
// these values one may come from stdin.
func (a *app) headers(plain, secretHeaders []string, secret given) (partners.Headers, error) {
	headers, fromStdin := partners.Headers{}, ""
	if secret == "-" {
		fromStdin = "--secret"
	}
	for _, item := range plain {
		name, value, found := strings.Cut(item, "=")
		if !found {
			return headers, usagef("--header %q must be NAME=VALUE", item)
		}
		if err := add(&headers.Plain, "--header", name, value); err != nil {
			return headers, err
		}
	}
	asking := ""
	for _, item := range secretHeaders {
		name, value, found := strings.Cut(item, "=")
		flag := "--secret-header " + leading(name)
		switch {
		case found && value == "":
			return headers, usagef("%s has no value: give one after the =, or - to read it from stdin", flag)
		case value == "-" && fromStdin != "":
			return headers, usagef("%s and %s can't both be read from stdin", fromStdin, flag)
		case value == "-":
			fromStdin, asking = flag, name
		}
		if err := add(&headers.Secret, "--secret-header", name, partners.Secret(value)); err != nil {
			return headers, err
		}
	}
	if asking == "" {
		return headers, nil
	}
	value, err := a.secret("-", fromStdin)
	headers.Secret[asking] = value
	return headers, err
}

// add puts a header into its map, once.
func add[V any](values *map[string]V, flag, name string, value V) error {
	if _, found := (*values)[name]; found {
		return usagef("%s %s is given twice", flag, leading(name))
	}
	if *values == nil {
		*values = map[string]V{}
	}
	(*values)[name] = value
	return nil
}

// leading is as much of what should be a header's name as is one: the rest may be a value in the wrong place.
func leading(name string) string {
	if end := strings.IndexAny(name, ": "); end >= 0 {
		return name[:end] + "…"
	}
	return name
}
