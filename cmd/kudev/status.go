package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/kudev/kudev/cmd/kudev/internal/daemon"
	"github.com/kudev/kudev/modload"
)

// runStatus shows what the daemon does and has done.
func runStatus(ctx context.Context, e *env, args []string) error {
	flags := pflag.NewFlagSet("status", pflag.ContinueOnError)
	asJSON := flags.Bool("json", false, "print JSON")
	rest, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return misuse("no arguments wanted")
	}
	r, err := e.ask(ctx, daemon.Request{Do: "status"})
	if err != nil {
		return err
	}
	s := r.Status
	if *asJSON {
		return e.writeJSON(s)
	}
	var t table
	line := func(name, format string, args ...any) { t.row(name, fmt.Sprintf(format, args...)) }
	line("daemon", "pid %d, up %s, ready after %s", s.Pid, s.UptimeUS.Duration().Round(time.Second), s.ReadyUS.Duration().Round(time.Millisecond))
	tree := s.Tree
	if tree == "" {
		tree = "none"
	}
	line("modules", "%s (%s)", tree, s.Release)
	line("rules", "%d from %s", s.RuleCount, s.Rules)
	line("events", "%d received, %d handled, %d failed, %d queued", s.Received, s.Handled, s.Failed, s.Queued)
	line("", "%d refused, %d lost, %d recovered", s.Refused, s.Lost, s.Recovered)
	line("modules loaded", "%d, %d under way", s.ModulesLoaded, s.Loading)
	line("memory", "%.1f MiB", float64(s.RSSBytes)/(1<<20))
	if s.Stopped {
		line("stopped", "events are held back until udevadm control --start-exec-queue")
	}
	if len(s.Waiting) > 0 {
		line("waiting for", "%s", strings.Join(s.Waiting, "; "))
	}
	if s.ReloadError != "" {
		line("last reload", "refused: %s", s.ReloadError)
	}
	for _, p := range s.Problems {
		line("problem", "%s", p)
	}
	return t.print(e.stdout)
}

// ask sends the daemon one request, and returns the last reply.
func (e *env) ask(ctx context.Context, req daemon.Request) (*daemon.Reply, error) {
	cfg, err := e.resolve(nil)
	if err != nil {
		return nil, err
	}
	conn, end, err := e.connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer end()
	r, err := conn.Ask(req)
	return r, interruption(ctx, err)
}

// connect connects to the daemon. The connection ends with ctx, and by end.
func (e *env) connect(ctx context.Context, cfg *modload.Config) (conn *daemon.Conn, end func(), err error) {
	conn, err = daemon.Connect(ctx, cfg, e.roots.Run)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	return conn, func() {
		stop()
		conn.Close()
	}, nil
}

// interruption is why ctx has ended, in place of what that has made of the connection.
func interruption(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
