package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/kudev/kudev/cmd/kudev/internal/daemon"
	"github.com/kudev/kudev/coldplug"
	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/modload"
)

// triggerFlags are udevadm trigger's.
type triggerFlags struct {
	verbose, dry, quiet, settle, uuid bool
	kind, action                      string
	filter                            coldplug.Filter
	parents, nodes                    []string
	prioritized                       []string
	waitDaemon                        timeout
}

func (t *triggerFlags) add(flags *pflag.FlagSet) {
	flags.BoolVarP(&t.verbose, "verbose", "v", false, "print each device that is announced")
	flags.BoolVarP(&t.dry, "dry-run", "n", false, "announce nothing")
	flags.BoolVarP(&t.quiet, "quiet", "q", false, "say nothing of devices that cannot be announced")
	flags.StringVarP(&t.kind, "type", "t", "devices", "`TYPE`: devices, subsystems or all")
	flags.StringVarP(&t.action, "action", "c", "change", "announce with `ACTION`; help lists them")
	flags.StringArrayVarP(&t.filter.Subsystems, "subsystem-match", "s", nil, "devices of a matching `SUBSYSTEM`")
	flags.StringArrayVarP(&t.filter.NoSubsystems, "subsystem-nomatch", "S", nil, "no devices of a matching `SUBSYSTEM`")
	flags.StringArrayVarP(&t.filter.Attrs, "attr-match", "a", nil, "devices with `FILE[=VALUE]` in sysfs")
	flags.StringArrayVarP(&t.filter.NoAttrs, "attr-nomatch", "A", nil, "no devices with `FILE[=VALUE]` in sysfs")
	flags.StringArrayVarP(&t.filter.Properties, "property-match", "p", nil, "devices with the property `KEY=VALUE`")
	flags.StringArrayVarP(&t.filter.Tags, "tag-match", "g", nil, "devices with the `TAG`")
	flags.StringArrayVarP(&t.filter.Sysnames, "sysname-match", "y", nil, "devices of this `NAME` in sysfs")
	flags.StringArrayVar(&t.nodes, "name-match", nil, "the device of the node or link `NAME`, and those below it")
	flags.StringArrayVarP(&t.parents, "parent-match", "b", nil, "the device `SYSPATH` and those below it")
	flags.BoolFunc("initialized-match", "devices that were handled already", func(string) error { t.filter.Initialized = new(true); return nil })
	flags.BoolFunc("initialized-nomatch", "devices that were not handled yet", func(string) error { t.filter.Initialized = new(false); return nil })
	flags.BoolVarP(&t.settle, "settle", "w", false, "wait until the events are through")
	flags.BoolVar(&t.uuid, "uuid", false, "print the UUID of the events")
	flags.StringArrayVar(&t.prioritized, "prioritized-subsystem", nil, "announce devices of `SUBSYSTEM[,SUBSYSTEM...]` first")
	flags.Var(&t.waitDaemon, "wait-daemon", "wait for a daemon to be there, at most `SECONDS`")
	flags.Lookup("wait-daemon").NoOptDefVal = "5"
}

// actions are those of the kernel. Source: lib/kobject_uevent.c, kobject_actions.
var actions = []string{"add", "remove", "change", "move", "online", "offline", "bind", "unbind"}

// runTrigger asks the kernel to announce devices again. Without any daemon it handles them itself.
func runTrigger(ctx context.Context, e *env, args []string) error {
	flags := pflag.NewFlagSet("trigger", pflag.ContinueOnError)
	t := &triggerFlags{}
	t.add(flags)
	tree := e.treeFlags(flags)
	devices, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	if t.action == "help" {
		return e.printActions()
	}
	if !slices.Contains(actions, t.action) {
		return misuse("unknown action %q", t.action)
	}
	kind, err := coldplug.ParseType(t.kind)
	if err != nil {
		return misuse("%v", err)
	}
	cfg, err := e.resolve(tree)
	if err != nil {
		return err
	}
	if err := e.untilDaemon(ctx, cfg, t.waitDaemon); err != nil {
		return err
	}
	items, failed, err := e.selectDevices(ctx, t, kind, devices)
	if err != nil {
		return err
	}
	if len(items) > 0 {
		if err := e.trigger(ctx, cfg, t, items); err != nil {
			return err
		}
	}
	if failed {
		return exitStatus(1)
	}
	return nil
}

func (e *env) printActions() error {
	_, err := fmt.Fprintln(e.stdout, strings.Join(actions, "\n"))
	return err
}

// selectDevices returns what the flags and arguments name: a named device with those below it, as udevadm does. One that is not there
// is said on stderr, and the rest counts.
func (e *env) selectDevices(ctx context.Context, t *triggerFlags, kind coldplug.Type, devices []string) (items []coldplug.Item, failed bool, err error) {
	one := func(name string) (coldplug.Item, bool) {
		item, err := e.lookupDevice(name)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				err = errors.New("no such device")
			}
			fmt.Fprintf(e.stderr, "%s: %s: %v\n", e.name, name, err)
			failed = true
		}
		return item, err == nil
	}
	names := slices.Concat(devices, t.nodes, t.parents)
	var named []coldplug.Item
	for _, name := range names {
		if item, ok := one(name); ok {
			named = append(named, item)
			t.filter.Parents = append(t.filter.Parents, item.Devpath)
		}
	}
	if len(t.filter.Parents) == 0 && len(names) > 0 {
		return nil, true, nil
	}
	if items, err = coldplug.Walk(ctx, e.roots, kind); err != nil {
		return nil, failed, err
	}
	for _, item := range named { // one that is of no class and no bus, or no device
		if item.Subsystem != "" && !slices.ContainsFunc(items, func(i coldplug.Item) bool { return i.Devpath == item.Devpath }) {
			items = append(items, item)
		}
	}
	if items, err = t.filter.Select(ctx, e.roots, items); err != nil {
		return nil, failed, usageError{err}
	}
	if len(t.prioritized) > 0 {
		items = coldplug.Prioritize(items, strings.Split(strings.Join(t.prioritized, ","), ","))
	}
	return items, failed, nil
}

// lookupDevice finds a device by its path in sysfs, its devpath, its node or a link to it, or its name in udev's
// database.
func (e *env) lookupDevice(name string) (coldplug.Item, error) {
	if strings.HasPrefix(name, "/dev/") || !strings.Contains(name, "/") && name != "" && name[0] != '+' {
		if dev, err := e.roots.DeviceByNode(name); err == nil {
			return coldplug.Lookup(e.roots, dev.Devpath())
		} else if strings.HasPrefix(name, "/dev/") {
			return coldplug.Item{}, err
		}
	}
	if dev, err := e.roots.DeviceByID(name); err == nil {
		return coldplug.Lookup(e.roots, dev.Devpath())
	}
	return coldplug.Lookup(e.roots, name)
}

// trigger announces the devices, to the daemon that runs, kudev or another; without one to this process itself.
func (e *env) trigger(ctx context.Context, cfg *modload.Config, t *triggerFlags, items []coldplug.Item) error {
	uuid := hotplug.NewUUID()
	run := coldplug.Trigger{
		Action: t.action, UUID: uuid, DryRun: t.dry,
		Each: func(item coldplug.Item, err error) {
			switch {
			case err != nil && !t.quiet:
				fmt.Fprintf(e.stderr, "%s: %s: %v\n", e.name, item.Devpath, err)
			case err == nil && t.verbose:
				fmt.Fprintln(e.stdout, "/sys"+item.Devpath)
			}
			if err == nil && t.uuid && !t.dry {
				fmt.Fprintln(e.stdout, uuid)
			}
		},
	}
	if t.dry {
		_, err := run.Run(ctx, e.roots, items)
		return err
	}
	conn, end, err := e.connect(ctx, cfg)
	switch {
	case err == nil:
		defer end()
	case errors.Is(err, daemon.ErrNoDaemon) && !e.udevRuns():
		if err := cfg.Conflict(); err != nil {
			return err
		}
		account, err := e.aloneDo(ctx, cfg, func(ctx context.Context, d *daemon.Daemon) (*daemon.Account, error) {
			if err := triggered(run.Run(ctx, e.roots, items)); err != nil {
				return nil, err
			}
			return d.Settle(ctx, d.WaitOptions(daemon.Request{}))
		})
		if err != nil {
			return err
		}
		return account.Err()
	case !errors.Is(err, daemon.ErrNoDaemon):
		return err
	}
	if t.settle && conn != nil { // it has to know of us before an event can be lost
		if _, err := conn.Ask(daemon.Request{Do: "ping"}); err != nil {
			return interruption(ctx, err)
		}
	}
	if err := triggered(run.Run(ctx, e.roots, items)); err != nil {
		return err
	}
	if !t.settle || conn == nil {
		return nil
	}
	r, err := conn.Ask(daemon.Request{Do: "settle", UUID: uuid})
	if err != nil {
		return interruption(ctx, err)
	}
	return r.Account.Err()
}

// triggered is the error of a run of which each failure was said already.
func triggered(rep coldplug.Report, err error) error {
	if err == nil && len(rep.Failed) > 0 {
		return exitStatus(1)
	}
	return err
}

// untilDaemon waits for a daemon, kudev or another, when limit is set.
func (e *env) untilDaemon(ctx context.Context, cfg *modload.Config, limit timeout) error {
	if !limit.set {
		return nil
	}
	ctx, cancel := limit.context(ctx)
	defer cancel()
	for cfg.DaemonPid() == 0 && !e.udevRuns() {
		select {
		case <-time.After(20 * time.Millisecond): // nobody tells of a socket that is served
		case <-ctx.Done():
			return fmt.Errorf("no daemon runs after %v", limit.d)
		}
	}
	return nil
}

// udevRuns tells whether another program serves udev's control socket.
func (e *env) udevRuns() bool {
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: e.roots.RunDir() + "/" + daemon.UdevSocketName, Net: "unixpacket"})
	if err != nil {
		return false
	}
	c.Close()
	return true
}
