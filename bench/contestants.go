package main

import (
	"fmt"
	"slices"
	"strings"
)

// contestantFlags say who takes part in a benchmark's rounds.
type contestantFlags struct {
	Concurrent int      `default:"500" help:"POSTs at once, of the bare worker and of the product where it is tuned."`
	Try        []string `help:"One more contestant: a name, and after it settings of the product (VARIABLE=VALUE). BINARY=PATH takes another binary." placeholder:"NAME[ VARIABLE=VALUE...]" sep:"none"`
	Only       []string `help:"Leave out all contestants but these." placeholder:"NAME"`
}

// contestant is what takes part in the rounds.
type contestant struct {
	name     string
	bare     *database // what a bare worker works on; nil: this is the product
	baseline bool      // others are compared with it, as they are with the first
	start    func(instance string) (*process, error)
}

// narrow leaves out all but some contestants and those that are added, unless flags say who takes part.
func (c *contestantFlags) narrow(names ...string) {
	if len(c.Only) > 0 {
		return
	}
	c.Only = names
	for _, try := range c.Try {
		c.Only = append(c.Only, strings.Fields(try)[0])
	}
}

// contestants are bare workers, on River's tables as River makes them and as the product has them, the product with a setting
// or two, and those that flags add.
func (c *contestantFlags) contestants(s *stage) []contestant {
	bare := func(name string, on *database, flags ...string) contestant {
		flags = append(flags, fmt.Sprint("--concurrent=", c.Concurrent))
		return contestant{name: name, bare: on, baseline: on == s.bare, start: func(string) (*process, error) { return s.startBare(on.dsn, flags...) }}
	}
	all := []contestant{bare("bare", s.bare), bare("bare+log", s.bare, "--log"), bare("lean+log", s.lean, "--log")}
	for _, try := range append([]string{fmt.Sprint("tuned MAX_CONCURRENT_DELIVERIES=", c.Concurrent), "defaults"}, c.Try...) {
		words := strings.Fields(try)
		all = append(all, contestant{name: words[0], start: func(instance string) (*process, error) {
			return s.startWorker(instance, words[1:]...)
		}})
	}
	if len(c.Only) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(one contestant) bool { return !slices.Contains(c.Only, one.name) })
}
