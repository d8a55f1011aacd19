package builtin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/rules/builtin/hwdb"
)

// log says what a builtin noticed and went on from.
func (c *Call) log(message string, args ...any) {
	if c.Log != nil {
		c.Log.Debug(message, append([]any{"device", c.Device.Devpath()}, args...)...)
	}
}

// warn says what somebody should mend.
func (c *Call) warn(message string, args ...any) {
	if c.Log != nil {
		c.Log.Warn(message, append([]any{"device", c.Device.Devpath()}, args...)...)
	}
}

// kmod loads what its arguments name, or what the MODALIAS property asks for. A module that does not load fails no
// rule: the loader reports it.
func (t *Table) kmod(ctx context.Context, call *Call) error {
	if len(call.Args) == 0 || call.Args[0] != "load" {
		return errors.New("expected: kmod load [alias…]")
	}
	aliases := call.Args[1:]
	if len(aliases) == 0 {
		alias, ok := call.Get("MODALIAS")
		if !ok {
			return errors.New("the device has no MODALIAS")
		}
		aliases = []string{alias}
	}
	if t.opts.Load == nil {
		if t.opts.DryRun {
			call.log("would load", "aliases", aliases)
			return nil
		}
		return errors.New("there is no module loader here")
	}
	for _, alias := range aliases {
		if err := t.opts.Load(ctx, alias); err != nil {
			call.log("cannot load", "alias", alias, "err", err)
		}
	}
	return ctx.Err()
}

// hwdb imports what the hardware database says: of the argument, or of the modalias of the device and, where that
// says nothing, of the devices above it, up to a USB device.
func (t *Table) hwdb(ctx context.Context, call *Call) error {
	if t.opts.HWDB == nil {
		return errors.New("there is no hardware database")
	}
	var filter, device, subsystem, prefix, rest string
	if err := options(call.Args, map[string]*string{
		"f": &filter, "filter": &filter, "d": &device, "device": &device,
		"s": &subsystem, "subsystem": &subsystem, "p": &prefix, "lookup-prefix": &prefix,
	}, nil, &rest); err != nil {
		return err
	}
	lookup := func(modalias string) (n int, err error) {
		err = t.opts.HWDB.Lookup(prefix+modalias, func(key, value string) bool {
			if filter == "" || hwdb.MatchPlain(filter, key) {
				call.Set(key, value)
				n++
			}
			return true
		})
		return n, err
	}
	result := func(n int, err error) error {
		if err == nil && n == 0 {
			return ErrNothing
		}
		return err
	}
	if rest != "" {
		return result(lookup(rest))
	}
	at := call.Device
	if device != "" {
		var err error
		if at, err = at.Roots().DeviceByID(device); err != nil {
			return fmt.Errorf("device %s: %w", device, err)
		}
	}
	for ; at != nil; at = at.Parent() {
		own := at.Subsystem()
		if own == "" || subsystem != "" && own != subsystem {
			continue
		}
		modalias, ok := at.Property("MODALIAS")
		if at == call.Device {
			if v, have := call.Get("MODALIAS"); have {
				modalias, ok = v, true
			}
		}
		usb := own == "usb" && at.Devtype() == "usb_device"
		if usb && !ok {
			modalias = usbModalias(at)
		}
		if modalias != "" {
			if n, err := lookup(modalias); n > 0 || err != nil {
				return result(n, err)
			}
		}
		if usb {
			break // what lies above is only a hub
		}
	}
	return ErrNothing
}

// usbModalias composes the key for a USB device, which has no modalias of its own; its interfaces have.
func usbModalias(dev *hotplug.Device) string {
	vendor, err1 := parseUint(attr(dev, "idVendor"), 16, 16)
	product, err2 := parseUint(attr(dev, "idProduct"), 16, 16)
	if err1 != nil || err2 != nil {
		return ""
	}
	return fmt.Sprintf("usb:v%04Xp%04X:%s", vendor, product, attr(dev, "product"))
}

// options reads a builtin's command line: values are options with an argument, flags those without, by their one
// letter or long name. The first argument that is no option goes to rest.
func options(args []string, values map[string]*string, flags map[string]*bool, rest *string) error {
	for i := 0; i < len(args); i++ {
		a := args[i]
		var name, value string
		has := false
		switch {
		case a == "--":
			args = append([]string(nil), args[i+1:]...)
			if len(args) > 0 && rest != nil && *rest == "" {
				*rest = args[0]
			}
			return nil
		case strings.HasPrefix(a, "--"):
			name, value, has = strings.Cut(a[2:], "=")
		case len(a) > 1 && a[0] == '-':
			name = a[1:2]
			if len(a) > 2 {
				value, has = a[2:], true
			}
		default:
			if rest != nil && *rest == "" {
				*rest = a
			}
			continue
		}
		if f := flags[name]; f != nil {
			*f = true
			if len(a) > 2 && a[1] != '-' { // -xd: several in one
				args = slices.Clone(args)
				args[i] = "-" + a[2:]
				i--
			}
			continue
		}
		v := values[name]
		if v == nil {
			return fmt.Errorf("unknown option %s", a)
		}
		if !has {
			if i++; i == len(args) {
				return fmt.Errorf("option %s needs a value", a)
			}
			value = args[i]
		}
		*v = value
	}
	return nil
}

// btrfs asks the kernel whether all devices of a btrfs volume are there: ID_BTRFS_READY. Without the driver none is.
func (t *Table) btrfs(ctx context.Context, call *Call) error {
	if len(call.Args) != 2 || call.Args[0] != "ready" {
		return errors.New("expected: btrfs ready DEVICE")
	}
	control, err := openFile(filepath.Join(call.Device.Roots().DevDir(), "btrfs-control"), unix.O_RDWR, nil)
	if absent(err) {
		call.Set("ID_BTRFS_READY", "0")
		return nil
	}
	if err != nil {
		return err
	}
	defer control.Close()
	ready, err := btrfsReady(control, call.Args[1])
	if err != nil {
		return fmt.Errorf("ask whether %s is ready: %w", call.Args[1], err)
	}
	call.Set("ID_BTRFS_READY", ready)
	return nil
}

func btrfsReady(control Node, device string) (string, error) {
	var args [4096]byte                             // struct btrfs_ioctl_vol_args: fd, then the name
	copy(args[8:len(args)-1], device)               //
	const request = 2<<30 | 4096<<16 | 0x94<<8 | 39 // BTRFS_IOC_DEVICES_READY
	r, err := control.Ioctl(request, args[:])
	if err != nil {
		return "", err
	}
	if r == 0 {
		return "1", nil
	}
	return "0", nil
}

// absent says whether an error of open means that there is no such device, rather than that it does not answer.
func absent(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOENT)
}

// factoryReset sets ID_FACTORY_RESET to what is known of a reset of the system: complete, on, off, or unspecified.
func (t *Table) factoryReset(ctx context.Context, call *Call) error {
	if len(call.Args) != 1 || call.Args[0] != "status" {
		return errors.New("expected: factory_reset status")
	}
	run := call.Device.Roots().RunDir()
	state := "unspecified"
	if _, err := os.Stat(filepath.Join(run, "systemd/factory-reset-complete")); err == nil {
		state = "complete"
	} else if v, ok := bootParameter(t.opts.CommandLine, "systemd.factory_reset"); ok {
		if isTrue(v) {
			state = "on"
		} else {
			state = "off"
		}
	}
	call.Set("ID_FACTORY_RESET", state)
	return nil
}

// bootParameter returns a parameter of the kernel's command line; the last one counts.
func bootParameter(line, name string) (value string, ok bool) {
	for _, word := range strings.Fields(line) {
		if word == name {
			value, ok = "1", true
		} else if v, is := strings.CutPrefix(word, name+"="); is {
			value, ok = strings.Trim(v, `"`), true
		}
	}
	return value, ok
}

var errNotBool = errors.New("neither yes nor no")

// parseBool returns 1 for what is true and 0 for what is false.
func parseBool(s string) (on uint32, ok bool) {
	switch strings.ToLower(s) {
	case "0", "no", "n", "false", "f", "off":
		return 0, true
	}
	return 1, isTrue(s)
}

func isTrue(s string) bool {
	switch strings.ToLower(s) {
	case "1", "yes", "y", "true", "t", "on":
		return true
	}
	return false
}
