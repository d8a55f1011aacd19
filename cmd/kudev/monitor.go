package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/kudev/kudev/cmd/kudev/internal/daemon"
	"github.com/kudev/kudev/cmd/kudev/internal/json"
	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/modload/ere"
)

// runMonitor prints events as the kernel sends them and as the daemon passes them on; or what the daemon decides.
func runMonitor(ctx context.Context, e *env, args []string) error {
	flags := pflag.NewFlagSet("monitor", pflag.ContinueOnError)
	kernel := flags.BoolP("kernel", "k", false, "print the kernel's events")
	udev := flags.BoolP("udev", "u", false, "print the events that rules have gone over")
	property := flags.BoolP("property", "p", false, "print the events' properties")
	flags.BoolP("environment", "e", false, "as --property")
	flags.MarkHidden("environment")
	subsystems := flags.StringArrayP("subsystem-match", "s", nil, "only events of `SUBSYSTEM[/DEVTYPE]`")
	tags := flags.StringArrayP("tag-match", "t", nil, "only events of devices with `TAG`")
	match := flags.StringArray("match", nil, "only events that match `RULE`: JSON, {\"action\": \"add|change\", \"env\": {\"KEY\": \"regular expression\"}}")
	asJSON := flags.Bool("json", false, "print each event as a line of JSON")
	decisions := flags.Bool("decisions", false, "print what the daemon decides: device, rules, modules, node and links, with times")
	rest, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 && !e.udevadm { // udevadm looks at none
		return misuse("no arguments wanted")
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer stop()
	if *decisions {
		return e.monitorDecisions(ctx, *asJSON)
	}
	if p, _ := flags.GetBool("environment"); p {
		*property = true
	}
	if !*kernel && !*udev {
		*kernel, *udev = true, true
	}
	m := &monitor{out: e.stdout, said: e.stderr, name: e.name, properties: *property, json: *asJSON, tags: *tags}
	for _, s := range *subsystems {
		name, devtype, _ := strings.Cut(s, "/")
		m.subsystems = append(m.subsystems, [2]string{name, devtype})
	}
	if m.rules, err = parseMatches(*match); err != nil {
		return misuse("%v", err)
	}
	if !*asJSON {
		fmt.Fprintln(e.stdout, "monitor will print the received events for:")
		if *udev {
			fmt.Fprintln(e.stdout, "UDEV - the event which udev sends out after rule processing")
		}
		if *kernel {
			fmt.Fprintln(e.stdout, "KERNEL - the kernel uevent")
		}
		if _, err := fmt.Fprintln(e.stdout); err != nil {
			return err
		}
	}
	return m.run(ctx, *kernel, *udev)
}

// A matchRule is go-udev's: every expression has to match, and a property that is not there matches none. An empty one matches all.
type matchRule struct {
	Action *string           `json:"action"`
	Env    map[string]string `json:"env"`
	action *ere.Expression
	env    map[string]*ere.Expression
}

func parseMatches(list []string) (rules []*matchRule, err error) {
	for _, s := range list {
		r := &matchRule{env: map[string]*ere.Expression{}}
		if err := json.ReadStrict([]byte(s), r); err != nil {
			return nil, fmt.Errorf("match %q: %w", s, err)
		}
		if r.Action != nil {
			if r.action, err = ere.Compile(*r.Action); err != nil {
				return nil, fmt.Errorf("match: %w", err)
			}
		}
		for key, text := range r.Env {
			if r.env[key], err = ere.Compile(text); err != nil {
				return nil, fmt.Errorf("match: %w", err)
			}
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func (r *matchRule) matches(ev *hotplug.Event) bool {
	if r.action != nil && !r.action.Match(ev.Action()) {
		return false
	}
	for key, x := range r.env {
		value, ok := ev.Get(key)
		if !ok || !x.Match(value) {
			return false
		}
	}
	return true
}

// monitor prints events from two sockets.
type monitor struct {
	mu         sync.Mutex
	out, said  io.Writer
	name       string
	properties bool
	json       bool
	subsystems [][2]string
	tags       []string
	rules      []*matchRule // one of them has to match
}

func (m *monitor) run(ctx context.Context, kernel, udev bool) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	errs := make(chan error, 2)
	start := func(group int, source string) error {
		l, err := hotplug.Listen(hotplug.ListenOptions{Group: group})
		if err != nil {
			return err
		}
		wg.Go(func() {
			defer l.Close()
			if err := m.follow(ctx, l, source); err != nil {
				errs <- err
				cancel()
			}
		})
		return nil
	}
	defer func() { // where the second cannot be listened to, the first has to end
		cancel()
		wg.Wait()
	}()
	if udev {
		if err := start(hotplug.UdevGroup, "UDEV"); err != nil {
			return err
		}
	}
	if kernel {
		if err := start(hotplug.KernelGroup, "KERNEL"); err != nil {
			return err
		}
	}
	<-ctx.Done()
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

func (m *monitor) follow(ctx context.Context, l *hotplug.Listener, source string) error {
	batch := make([]*hotplug.Event, 32)
	for {
		n, err := l.Receive(ctx, batch)
		for _, ev := range batch[:n] {
			if m.wants(ev, source) {
				if err := m.print(ev, source); err != nil {
					return err
				}
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, hotplug.ErrOverflow):
			dropped, err := l.Drain(ctx, func(*hotplug.Event) error { return ctx.Err() })
			fmt.Fprintf(m.said, "%s: the kernel dropped %d events: the socket was full\n", m.name, dropped)
			if err != nil && ctx.Err() == nil {
				return err
			}
		case ctx.Err() != nil:
			return nil
		default:
			return err
		}
	}
}

func (m *monitor) wants(ev *hotplug.Event, source string) bool {
	if len(m.subsystems) > 0 {
		ok := false
		for _, s := range m.subsystems {
			ok = ok || s[0] == ev.Subsystem() && (s[1] == "" || s[1] == ev.Devtype())
		}
		if !ok {
			return false
		}
	}
	if len(m.tags) > 0 && source == "UDEV" {
		ok := false
		for _, t := range m.tags {
			ok = ok || strings.Contains(ev.Value("TAGS"), ":"+t+":")
		}
		if !ok {
			return false
		}
	}
	return len(m.rules) == 0 || slices.ContainsFunc(m.rules, func(r *matchRule) bool { return r.matches(ev) })
}

func (m *monitor) print(ev *hotplug.Event, source string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := bufio.NewWriter(m.out)
	at := daemon.Now().Duration()
	if m.json {
		properties := map[string]string{}
		for k, v := range ev.All() {
			properties[k] = v
		}
		line := struct {
			Source     string            `json:"source"`
			Time       int64             `json:"time_us"`
			Action     string            `json:"action"`
			Devpath    string            `json:"devpath"`
			Subsystem  string            `json:"subsystem"`
			Properties map[string]string `json:"properties"`
		}{strings.ToLower(source), at.Microseconds(), ev.Action(), ev.Devpath(), ev.Subsystem(), properties}
		if err := json.Write(w, line); err != nil {
			return err
		}
		return w.Flush()
	}
	fmt.Fprintf(w, "%-6s[%d.%06d] %-8s %s (%s)\n", source, at/time.Second, at%time.Second/time.Microsecond, ev.Action(), ev.Devpath(), ev.Subsystem())
	if m.properties {
		for k, v := range ev.All() {
			if k == "UDEV_DATABASE_VERSION" { // libudev keeps it to itself
				continue
			}
			fmt.Fprintf(w, "%s=%s\n", k, v)
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

// monitorDecisions prints the daemon's journal as it grows.
func (e *env) monitorDecisions(ctx context.Context, asJSON bool) error {
	cfg, err := e.resolve(nil)
	if err != nil {
		return err
	}
	conn, end, err := e.connect(ctx, cfg)
	if err != nil {
		return err
	}
	defer end()
	if err := conn.Send(daemon.Request{Do: "watch"}); err != nil {
		return err
	}
	for {
		r, err := conn.Receive()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if r.Entry == nil {
			continue
		}
		if asJSON {
			err = json.Write(e.stdout, r.Entry)
		} else {
			err = printEntry(e.stdout, r.Entry)
		}
		if err != nil {
			return err
		}
	}
}

// printEntry prints one entry of the journal for people.
func printEntry(w io.Writer, e *daemon.Entry) error {
	var b strings.Builder
	if e.Type == "note" {
		fmt.Fprintf(&b, "%s  %s\n", seconds(e.Finished), e.Note)
		_, err := io.WriteString(w, b.String())
		return err
	}
	fmt.Fprintf(&b, "%s  %-7s %s (%s)", seconds(e.Finished), e.Action, e.Devpath, e.Subsystem)
	if e.Origin != "kernel" {
		fmt.Fprintf(&b, " [%s]", e.Origin)
	}
	fmt.Fprintf(&b, " %s\n", (e.Finished - e.Started).Duration().Round(10*time.Microsecond))
	for _, r := range e.Rules {
		if r.Did != "" {
			fmt.Fprintf(&b, "    rule    %s  %s\n", r.Rule, r.Did)
		}
	}
	for _, m := range e.Modules {
		fmt.Fprintf(&b, "    module  %s %s", m.Name, m.State)
		if m.Took > 0 {
			fmt.Fprintf(&b, " in %s", m.Took.Duration().Round(100*time.Microsecond))
		}
		if m.Why != "" {
			fmt.Fprintf(&b, " (%s)", m.Why)
		}
		if m.Error != "" {
			fmt.Fprintf(&b, ": %s", m.Error)
		}
		b.WriteByte('\n')
	}
	if e.NoModule {
		fmt.Fprintf(&b, "    module  none for %s\n", e.Modalias)
	}
	if e.Node != nil {
		b.WriteString("    node    " + e.Node.Path)
		if e.Node.Mode != "" {
			b.WriteString(" " + e.Node.Mode)
		}
		b.WriteByte('\n')
	}
	if e.Name != "" {
		fmt.Fprintf(&b, "    name    %s\n", e.Name)
	}
	for _, l := range e.Links {
		fmt.Fprintf(&b, "    link    /dev/%s\n", l)
	}
	for _, l := range e.Unlinked {
		fmt.Fprintf(&b, "    unlink  /dev/%s\n", l)
	}
	for _, r := range e.Run {
		fmt.Fprintf(&b, "    run     %s %s", r.Line, r.Took.Duration().Round(100*time.Microsecond))
		if r.Error != "" {
			b.WriteString(": " + r.Error)
		}
		b.WriteByte('\n')
	}
	if e.Error != "" {
		fmt.Fprintf(&b, "    error   %s\n", e.Error)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func seconds(m daemon.Micros) string { return fmt.Sprintf("%4d.%06d", m/1e6, m%1e6) }
