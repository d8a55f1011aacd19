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
	release := d.queue.Hold("recovering lost events")
	dropped, err := d.source.Drain(ctx, func(ev *hotplug.Event) error {
		d.take(ctx, ev)
		return ctx.Err()
	})
	d.counters.Lost.Add(dropped)
	text := fmt.Sprintf("the kernel dropped %d events: the socket was full", dropped)
	d.log.Warn(text)
	d.journal.Note(text)
	if err != nil && ctx.Err() == nil {
		d.log.Error("recover lost events: " + err.Error())
	}
	// The socket is read on meanwhile; another overflow asks for another walk.
	d.workers.Go(func() {
		defer release()
		d.recovering.Lock()
		defer d.recovering.Unlock()
		d.recover(ctx, false)
	})
}

// recover walks /sys, compares it with what has been handled, and makes up the events that are missing: add for a device
// that is new, remove for one that is gone, both for one that was replaced under its name, and change for one that is as
// it was but has a node or is an interface, since a change leaves no trace. After a restart everything is new; what has
// a record already is told as changed.
func (d *Daemon) recover(ctx context.Context, restart bool) {
	roots := d.opts.Roots
	items, err := coldplug.Walk(ctx, roots, coldplug.Devices)
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
		case old == 0 && restart && hasRecord(dev):
			announce(item.Devpath, "change")
		case old == 0:
			announce(item.Devpath, "add")
		case old != inode(roots, item.Devpath):
			send(d.removal(item.Devpath))
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
