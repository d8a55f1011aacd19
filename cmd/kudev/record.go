package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"

	"github.com/kudev/kudev/cmd/kudev/internal/daemon"
	"github.com/kudev/kudev/cmd/kudev/internal/json"
	"github.com/kudev/kudev/hotplug"
)

// recorded is one event of a recording: a line of JSON. Properties are in the kernel's order.
type recorded struct {
	Time       daemon.Micros `json:"time_us"`
	Action     string        `json:"action"`
	Devpath    string        `json:"devpath"`
	Subsystem  string        `json:"subsystem,omitempty"`
	Properties []string      `json:"properties,omitempty"` // each KEY=value
}

// runRecord writes the kernel's events down as they come.
func runRecord(ctx context.Context, e *env, args []string) (err error) {
	flags := pflag.NewFlagSet("record", pflag.ContinueOnError)
	file := flags.StringP("output", "o", "-", "write to `FILE`")
	count := flags.IntP("count", "n", 0, "end after `N` events")
	rest, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return misuse("no arguments wanted")
	}
	out := e.stdout
	if *file != "-" {
		var f *os.File
		if f, err = os.Create(*file); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		out = f
	}
	l, err := hotplug.Listen(hotplug.ListenOptions{})
	if err != nil {
		return err
	}
	defer l.Close()
	batch := make([]*hotplug.Event, 32)
	for n := 0; *count == 0 || n < *count; {
		got, err := l.Receive(ctx, batch)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, hotplug.ErrOverflow):
			dropped, err := l.Drain(ctx, func(*hotplug.Event) error { return ctx.Err() })
			if err != nil {
				return err
			}
			return fmt.Errorf("the kernel dropped %d events: the recording has a gap", dropped)
		case err != nil:
			return err
		}
		for _, ev := range batch[:got] {
			r := recorded{Time: daemon.Now(), Action: ev.Action(), Devpath: ev.Devpath(), Subsystem: ev.Subsystem()}
			for k, v := range ev.All() {
				if k != "ACTION" && k != "DEVPATH" && k != "SUBSYSTEM" {
					r.Properties = append(r.Properties, k+"="+v)
				}
			}
			if err := json.Write(out, r); err != nil {
				return err
			}
			if n++; n == *count {
				break
			}
		}
	}
	return nil
}

// runReplay handles the events of a recording, one after the other, as test --apply does.
func runReplay(ctx context.Context, e *env, args []string) error {
	flags := pflag.NewFlagSet("replay", pflag.ContinueOnError)
	stand := addStandIns(flags)
	asJSON := flags.Bool("json", false, "print what came of each event as a line of JSON")
	tree := e.treeFlags(flags)
	rest, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return misuse("one recording wanted, - for the standard input")
	}
	if stand.dev == "" || stand.run == "" {
		return misuse("--dev and --run wanted: a replay is not for the running machine")
	}
	cfg, err := e.resolve(tree)
	if err != nil {
		return err
	}
	once := daemon.Once{Config: cfg, Roots: e.roots, Log: e.logger(cfg)}
	if err := stand.apply(&once, true); err != nil {
		return err
	}
	in := e.stdin
	if rest[0] != "-" {
		f, err := os.Open(rest[0])
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	var bad error
	events := func(yield func(*hotplug.Event) bool) {
		d := json.NewDecoder(in)
		for n := 1; ; n++ {
			var r recorded
			err := d.Read(&r)
			if errors.Is(err, io.EOF) {
				return
			}
			var ev *hotplug.Event
			if err == nil {
				ev, err = hotplug.ParseEvent(hotplug.AppendMessage(nil, r.Action, r.Devpath, r.Subsystem, r.Properties...))
			}
			if err != nil {
				bad = fmt.Errorf("%s: event %d: %w", rest[0], n, err)
				return
			}
			if !yield(ev) {
				return
			}
		}
	}
	handled, failed := 0, 0
	err = once.ApplyAll(ctx, events, func(entry *daemon.Entry, err error) {
		handled++
		if err != nil {
			failed++
		}
		switch {
		case entry == nil:
		case *asJSON:
			json.Write(e.stdout, entry)
		default:
			printEntry(e.stdout, entry)
		}
	})
	if err = errors.Join(err, bad); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d events failed", failed, handled)
	}
	return nil
}
