package builtin

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	mathbits "math/bits"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// keyboard carries out what the hardware database says of an input device: KEYBOARD_KEY_<scan code>=<key> maps keys
// (a '!' in front: the key sends no release, the driver makes one up), EVDEV_ABS_<axis>=min:max:res:fuzz:flat changes
// axes, POINTINGSTICK_SENSITIVITY goes to the serio device. One entry that does not work stops no other.
func (t *Table) keyboard(ctx context.Context, call *Call) error {
	if call.Device.Devname() == "" {
		return errors.New("the device has no node")
	}
	if call.All == nil {
		return errors.New("the caller does not say what properties there are")
	}
	var entries []string
	for key, value := range call.All {
		if strings.HasPrefix(key, "KEYBOARD_KEY_") || strings.HasPrefix(key, "EVDEV_ABS_") || key == "POINTINGSTICK_SENSITIVITY" {
			entries = append(entries, key+"="+value)
		}
	}
	if len(entries) == 0 {
		return nil
	}
	slices.Sort(entries)
	if t.opts.DryRun {
		for _, e := range entries {
			call.log("would set up the input device", "entry", e)
		}
		return nil
	}
	var node Node
	defer func() {
		if node != nil {
			node.Close()
		}
	}()
	open := func() error {
		if node != nil {
			return nil
		}
		var err error
		node, err = t.opts.Open(call.Device, unix.O_RDWR|unix.O_NONBLOCK)
		return err
	}
	hasAbs := -1
	var release []string
	for _, entry := range entries {
		key, value, _ := strings.Cut(entry, "=")
		var err error
		if code, ok := strings.CutPrefix(key, "KEYBOARD_KEY_"); ok {
			scan, e := parseUint(code, 16, 32)
			if e != nil {
				call.log("not a scan code", "entry", entry)
				continue
			}
			name, forced := strings.CutPrefix(value, "!")
			if forced {
				release = append(release, strconv.FormatUint(scan, 10))
				if name == "" {
					continue
				}
			}
			if err := open(); err != nil {
				return err
			}
			err = mapKey(node, uint32(scan), name)
		} else if code, ok := strings.CutPrefix(key, "EVDEV_ABS_"); ok {
			axis, e := parseUint(code, 16, 32)
			if e != nil || axis > 0x3f {
				call.log("not an axis", "entry", entry)
				continue
			}
			if err := open(); err != nil {
				return err
			}
			if hasAbs < 0 {
				var b [8]byte
				if _, err := node.Ioctl(evioc(iocRead, 0x20, uint(mathbits.UintSize/8)), b[:mathbits.UintSize/8]); err != nil {
					return fmt.Errorf("ask for the event types: %w", err)
				}
				hasAbs = 0
				if binary.NativeEndian.Uint32(b[:])&(1<<evAbs) != 0 {
					hasAbs = 1
				}
			}
			if hasAbs == 0 {
				call.log("the device has no absolute axes", "entry", entry)
				continue
			}
			err = overrideAbs(node, uint(axis), value)
		} else {
			err = sensitivity(call, value)
		}
		if err != nil {
			call.log("cannot set up the input device", "entry", entry, "err", err)
		}
	}
	if len(release) > 0 {
		if err := forceRelease(call, release); err != nil {
			call.log("cannot set up forced releases", "err", err)
		}
	}
	return nil
}

// mapKey maps a scan code with EVIOCSKEYCODE.
func mapKey(n Node, scan uint32, name string) error {
	code, ok := keyCode(name)
	if !ok {
		v, err := parseUint(name, 0, 32)
		if err != nil {
			return fmt.Errorf("no key has the name %q", name)
		}
		code = uint32(v)
	}
	var b [8]byte
	binary.NativeEndian.PutUint32(b[:], scan)
	binary.NativeEndian.PutUint32(b[4:], code)
	_, err := n.Ioctl(evioc(iocWrite, 0x04, 8), b[:])
	return err
}

// overrideAbs changes those of an axis's numbers that the value gives: min:max:resolution:fuzz:flat, an empty one stays.
func overrideAbs(n Node, axis uint, value string) error {
	a, err := getAbs(n, axis)
	if err != nil {
		return err
	}
	fields := strings.Split(value, ":")
	for i, p := range []*int32{&a.Minimum, &a.Maximum, &a.Resolution, &a.Fuzz, &a.Flat} {
		if i >= len(fields) || fields[i] == "" {
			continue
		}
		v, err := strconv.ParseInt(strings.TrimLeft(fields[i], space), 0, 64)
		if err != nil {
			return fmt.Errorf("%q is no number", fields[i])
		}
		*p = int32(v)
	}
	return setAbs(n, axis, a)
}

func sensitivity(call *Call, value string) error {
	v, err := parseUint(value, 0, 8)
	if err != nil {
		return fmt.Errorf("%q is not from 0 to 255", value)
	}
	serio := call.Device.ParentWith("serio", "")
	if serio == nil {
		return errors.New("there is no serio device above")
	}
	return serio.SetAttr("sensitivity", strconv.FormatUint(v, 10))
}

func forceRelease(call *Call, codes []string) error {
	serio := call.Device.ParentWith("serio", "")
	if serio == nil {
		return errors.New("there is no serio device above")
	}
	have, err := serio.Attr("force_release")
	if err != nil {
		return err
	}
	return serio.SetAttr("force_release", have+","+strings.Join(codes, ","))
}
