package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/kudev/kudev/modload"
)

// runLsmod lists the modules in the kernel. See lsmod(8). --json and --help are ours.
func runLsmod(ctx context.Context, e *env, args []string) error {
	asJSON := len(args) == 1 && args[0] == "--json"
	if len(args) == 1 && args[0] == "--help" {
		return (&applet{env: e}).help([]string{"[--json]"}, "--json\tprint JSON", "--help\tshow this")
	}
	if len(args) > 0 && !asJSON {
		fmt.Fprintf(e.stderr, "Usage: %s\n", e.name)
		return exitStatus(1)
	}
	cfg, err := e.resolve(nil)
	if err != nil {
		return err
	}
	live, err := modload.Live(cfg)
	if err != nil {
		fmt.Fprintf(e.stderr, "Error: could not get list of modules: %s\n", strerror(err))
		return exitStatus(1)
	}
	if asJSON {
		type module struct {
			Name    string   `json:"name"`
			Size    int64    `json:"size"`
			Users   int      `json:"users"`
			Holders []string `json:"holders"`
			State   string   `json:"state"`
		}
		list := []module{}
		for _, m := range live {
			if m.Holders == nil {
				m.Holders = []string{}
			}
			list = append(list, module{m.Name, m.Size, m.Users, m.Holders, m.State})
		}
		return e.writeJSON(list)
	}
	var b strings.Builder
	b.WriteString("Module                  Size  Used by\n")
	for _, m := range live {
		fmt.Fprintf(&b, "%-19s %8d  %d", m.Name, m.Size, m.Users)
		if len(m.Holders) > 0 {
			b.WriteByte(' ')
			b.WriteString(strings.Join(m.Holders, ","))
		}
		b.WriteByte('\n')
	}
	_, err = fmt.Fprint(e.stdout, b.String())
	return err
}
