package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kudev/kudev/coldplug"
	"github.com/kudev/kudev/hotplug"
)

// overflow is called when the kernel has dropped events. It goes on dropping until the socket is read empty, so that
// comes first; what the lost events said is then read from /sys.
func (d *Daemon) overflow(ctx context.Context) {
	l := loss{release: d.queue.Hold("recovering lost events"), replay: d.coldplugs.Load() > 0}
	dropped, err := d.source.Drain(ctx, func(ev *hotplug.Event) error {
		d.take(ctx, ev)
		return ctx.Err()
	})
	d.watch.watch.Forget()
	d.counters.Lost.Add(dropped)
	text := fmt.Sprintf("the kernel dropped %d events: the socket was full", dropped)
	d.log.Warn(text)
	d.journal.Note(text)
	if err != nil && ctx.Err() == nil {
		d.log.Error("recover lost events: " + err.Error())
	}
	// The socket is read on meanwhile. One walk is enough for all overflows before it.
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.losses = append(d.losses, l); len(d.losses) == 1 {
		d.workers.Go(func() { d.recoverLosses(ctx) })
	}
}

// loss is an overflow whose events have not been looked for yet.
type loss struct {
	release func() // lets those go on who wait until all is done
	replay  bool   // a coldplug was under way: any device's event may be among the lost
}

// recoverLosses looks for what the overflows until now have lost.
func (d *Daemon) recoverLosses(ctx context.Context) {
	d.recovering.Lock()
	defer d.recovering.Unlock()
	d.mu.Lock()
	losses := d.losses
	d.losses = nil
	d.mu.Unlock()
	how := afterLoss
	for _, l := range losses {
		defer l.release()
		if l.replay {
			how = afterLostReplay
		}
	}
	d.recover(ctx, how)
}

// recovery is what a walk of /sys makes up for.
type recovery int

const (
	afterLoss       recovery = iota // events that an overflow has lost
	afterLostReplay                 // and those of a coldplug
	afterRestart                    // those that came while no daemon was there
)

// recover walks /sys, compares it with what has been handled, and makes up the events that are missing: add for a device
// that is new, remove for one that is gone, both for one that was replaced under its name, and change for one that is as
// it was but has a node or is an interface, since a change leaves no trace. When the events of a coldplug were lost too,
// every device is announced as that would. After a restart everything is new; what has a record already is told as changed.
func (d *Daemon) recover(ctx context.Context, how recovery) {
	roots := d.opts.Roots
	what := coldplug.Devices
	if how == afterLostReplay {
		what = coldplug.All
	}
	items, err := coldplug.Walk(ctx, roots, what)
	if err != nil {
		d.log.Error("recover lost events: " + err.Error())
		return
	}
	n := 0
	send := func(ev *hotplug.Event) {
		n++
		d.counters.Recovered.Add(1)
		d.take(ctx, ev)
	}
	// The kernel's events are queued meanwhile. A device that goes while its event is made up may have its own remove
	// before that in the queue: then another remove follows, and whatever has come under its name is announced in turn.
	announce := func(devpath, action string) {
		for ctx.Err() == nil {
			was := inode(roots, devpath)
			ev, err := d.makeUp(devpath, action)
			if err != nil {
				if !errors.Is(err, os.ErrNotExist) {
					d.log.Warn("recover: " + err.Error())
				}
				return
			}
			send(ev)
			if inode(roots, devpath) == was {
				return
			}
			send(removalOf(ev))
			action = "add"
		}
	}
	for _, devpath := range d.known.paths() {
		if inode(roots, devpath) == 0 {
			send(d.removal(devpath))
			if inode(roots, devpath) != 0 { // it came again, and its event may be before that in the queue
				announce(devpath, "add")
			}
		}
	}
	for _, item := range items {
		if ctx.Err() != nil {
			return
		}
		dev, err := roots.Device(item.Devpath)
		if err != nil {
			continue
		}
		switch old := d.known.get(item.Devpath); {
		case old == 0 && how == afterRestart && hasRecord(dev):
			announce(item.Devpath, "change")
		case old == 0:
			announce(item.Devpath, "add")
		case old != inode(roots, item.Devpath):
			send(d.removal(item.Devpath))
			announce(item.Devpath, "add")
		case how == afterLostReplay:
			announce(item.Devpath, "add")
		case hasNode(dev):
			announce(item.Devpath, "change")
		}
	}
	text := fmt.Sprintf("%d events made up for what was missed", n)
	d.log.Warn(text)
	d.journal.Note(text)
}

// madeUp are the properties of an event that the kernel did not send: listeners of libudev want a number.
func (d *Daemon) madeUp() []string {
	return []string{"SEQNUM=" + strconv.FormatUint(max(1, d.lastSeqnum.Load()), 10), "KUDEV_RECOVERED=1"}
}

// makeUp makes the event of a device's present state.
func (d *Daemon) makeUp(devpath, action string) (*hotplug.Event, error) {
	dev, err := d.opts.Roots.Device(devpath)
	if err != nil {
		return nil, err
	}
	return dev.MakeEvent(action, d.madeUp()...)
}

// removalOf makes the remove event of a device that was announced by ev.
func removalOf(ev *hotplug.Event) *hotplug.Event {
	var properties []string
	for key, value := range ev.All() {
		switch key {
		case "ACTION", "DEVPATH", "SUBSYSTEM":
		default:
			properties = append(properties, key+"="+value)
		}
	}
	return hotplug.NewEvent("remove", ev.Devpath(), ev.Subsystem(), properties...)
}

func hasRecord(dev *hotplug.Device) bool {
	_, err := dev.Record()
	return err == nil
}

func hasNode(dev *hotplug.Device) bool {
	_, ok := dev.Devnum()
	return ok || dev.Ifindex() > 0
}

// removal makes the event of a device that is gone, from what its last event said of it.
func (d *Daemon) removal(devpath string) *hotplug.Event {
	subsystem, properties := d.known.last(devpath)
	return hotplug.NewEvent("remove", devpath, subsystem, append(properties, d.madeUp()...)...)
}

// predecessor tells whether a daemon was here before, and left without finishing, or devices with records.
func (d *Daemon) predecessor() bool {
	entries, err := os.ReadDir(filepath.Join(d.run(), "udev/data"))
	return err == nil && len(entries) > 0
}

// sweep removes the records, links and tags of devices that went while no daemon was there.
func (d *Daemon) sweep(ctx context.Context) {
	roots := d.opts.Roots
	entries, err := os.ReadDir(filepath.Join(d.run(), "udev/data"))
	if err != nil {
		return
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			return
		}
		id := e.Name()
		if strings.HasPrefix(id, ".") {
			continue
		}
		if _, err := roots.DeviceByID(id); err == nil || !errors.Is(err, os.ErrNotExist) {
			continue
		}
		ev, err := removalByID(roots, id, d.madeUp())
		if err != nil {
			d.log.Debug("records: no device's name: "+err.Error(), "record", id)
			continue
		}
		d.counters.Recovered.Add(1)
		d.take(ctx, ev)
		if dev, err := roots.DeviceByID(id); err == nil { // it came meanwhile, and its event may be before that in the queue
			if ev, err := dev.MakeEvent("add", d.madeUp()...); err == nil {
				d.counters.Recovered.Add(1)
				d.take(ctx, ev)
			}
		}
	}
}

// removalByID makes the event of a device of which only the name of its record is left, and the link by number in /dev, which
// says what its node was called.
func removalByID(roots hotplug.Roots, id string, more []string) (*hotplug.Event, error) {
	devpath, subsystem, properties := "/devices/gone/"+strings.ReplaceAll(id, ":", "-"), "", more
	node := func(kind string) {
		major, minor, _ := strings.Cut(id[1:], ":")
		properties = append(properties, "MAJOR="+major, "MINOR="+minor)
		if target, err := os.Readlink(filepath.Join(roots.DevDir(), kind, id[1:])); err == nil {
			properties = append(properties, "DEVNAME="+strings.TrimPrefix(target, "../"))
		}
	}
	switch id[0] {
	case 'b':
		subsystem = "block"
		node("block")
	case 'c':
		node("char")
	case 'n':
		subsystem = "net"
		properties = append(properties, "IFINDEX="+id[1:])
	case '+':
		var sysname string
		subsystem, sysname, _ = strings.Cut(id[1:], ":")
		devpath = "/devices/gone/" + sysname
		if bus, driver, ok := strings.Cut(sysname, ":"); ok && subsystem == "drivers" {
			devpath = "/bus/" + bus + "/drivers/" + driver
		}
	}
	return hotplug.ParseEvent(hotplug.AppendMessage(nil, "remove", devpath, subsystem, properties...))
}
