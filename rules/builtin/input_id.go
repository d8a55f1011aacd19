package builtin

import (
	"context"
	"encoding/binary"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/hotplug"
)

// Kernel: include/uapi/linux/input-event-codes.h.
const (
	evKey, evRel, evAbs, evSW = 0x01, 0x02, 0x03, 0x05

	relX, relY, relHWheel, relWheel = 0x00, 0x01, 0x06, 0x08

	absX, absY, absZ, absRX, absPressure      = 0x00, 0x01, 0x02, 0x03, 0x18
	absMTSlot, absMTPositionX, absMTPositionY = 0x2f, 0x35, 0x36

	propDirect, propPointingStick, propAccelerometer = 0x01, 0x05, 0x06

	btnMisc, btn0, btnMouse, btnJoystick, btnDigi     = 0x100, 0x100, 0x110, 0x120, 0x140
	btnToolPen, btnToolFinger, btnTouch, btnStylus    = 0x140, 0x145, 0x14a, 0x14b
	keyOK, btnDpadUp, btnDpadRight                    = 0x160, 0x220, 0x223
	keyALSToggle, btnTriggerHappy1, btnTriggerHappy40 = 0x230, 0x2c0, 0x2e7

	busI2C = 0x18
)

// bits is a capability mask, as many words as the kernel has of it.
type bits [12]uint64

func (b *bits) has(n int) bool { return b[n/64]>>(n%64)&1 != 0 }

// parseBits reads a mask as sysfs shows it: hexadecimal words, the highest first, each as wide as the kernel's long.
// A word that does not parse counts as 0; words beyond the limit are left out.
func parseBits(s string, words int) bits {
	var b bits
	size := strconv.IntSize
	for i := 0; ; i++ {
		rest, word, more := cutLast(s)
		if v, err := parseUint(word, 16, 64); err == nil && i < words*64/size {
			b[i*size/64] |= v << (i * size % 64)
		}
		if !more {
			return b
		}
		s = rest
	}
}

func cutLast(s string) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, ' '); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return "", s, false
}

// capabilities are what an input device says it can send.
type capabilities struct {
	ev, abs, rel, key, props bits
	bus                      uint64
}

// inputID says which kinds of input device this is (ID_INPUT_KEY, ID_INPUT_MOUSE and their fellows), from the
// capabilities of the device or of the one above it that has them, and how large a surface it has.
func (t *Table) inputID(ctx context.Context, call *Call) error {
	dev := call.Device
	input := dev
	for input != nil && !hasAttr(input, "capabilities/ev") {
		input = input.ParentWith("input", "")
	}
	if input != nil {
		call.Set("ID_INPUT", "1")
		c := capabilities{
			ev:    parseBits(attr(input, "capabilities/ev"), 1),
			abs:   parseBits(attr(input, "capabilities/abs"), 1),
			rel:   parseBits(attr(input, "capabilities/rel"), 1),
			key:   parseBits(attr(input, "capabilities/key"), 12),
			props: parseBits(attr(input, "properties"), 1),
		}
		c.bus, _ = parseUint(attr(input, "id/bustype"), 16, 16)
		pointer := c.pointer(call)
		key := c.keys(call)
		if !pointer && !key && c.ev.has(evRel) && (c.rel.has(relWheel) || c.rel.has(relHWheel)) {
			call.Set("ID_INPUT_KEY", "1") // only a wheel
		}
		if c.ev.has(evSW) {
			call.Set("ID_INPUT_SWITCH", "1")
		}
	}
	if strings.HasPrefix(dev.Sysname(), "event") {
		t.surface(call, dev)
	}
	return nil
}

// anyOf counts the bits set from lo to hi, hi included.
func (b *bits) count(lo, hi int) (n int) {
	for i := lo; i <= hi; i++ {
		if b.has(i) {
			n++
		}
	}
	return n
}

// wellKnownKeys are keys of which a keyboard has several and a joystick hardly any: left Ctrl, Caps Lock, Num Lock,
// Insert, Mute, Calculator, File, Mail, Play/Pause, Brightness down.
var wellKnownKeys = [...]int{29, 58, 69, 110, 113, 140, 144, 155, 164, 224}

// pointer says which kind of pointing device this is, and whether it is any.
func (c *capabilities) pointer(call *Call) bool {
	absXY := c.abs.has(absX) && c.abs.has(absY)
	keys := c.ev.has(evKey)
	if c.props.has(propAccelerometer) || !keys && absXY && c.abs.has(absZ) {
		call.Set("ID_INPUT_ACCELEROMETER", "1")
		return true
	}
	stick := c.props.has(propPointingStick)
	stylus, pen := c.key.has(btnStylus), c.key.has(btnToolPen)
	fingerOnly := c.key.has(btnToolFinger) && !pen
	mouseButton := c.key.count(btnMouse, btnJoystick-1) > 0
	relXY := c.ev.has(evRel) && c.rel.has(relX) && c.rel.has(relY)
	multitouch := c.abs.has(absMTPositionX) && c.abs.has(absMTPositionY)
	if multitouch && c.abs.has(absMTSlot) && c.abs.has(absMTSlot-1) {
		multitouch = false // a device that claims every axis there is
	}
	direct, touch := c.props.has(propDirect), c.key.has(btnTouch)
	padButtons := c.key.has(btn0) && stylus && !pen

	// A mouse of more than 16 buttons reaches into the joystick's range.
	buttons := 0
	if !c.key.has(btnJoystick - 1) {
		buttons = c.key.count(btnJoystick, btnDigi-1) + c.key.count(btnTriggerHappy1, btnTriggerHappy40) +
			c.key.count(btnDpadUp, btnDpadRight)
	}
	axes := c.abs.count(absRX, absPressure-1)

	var mouse, absMouse, touchpad, touchscreen, tablet, tabletPad, joystick bool
	switch {
	case !absXY:
		joystick = buttons > 0 || axes > 0
	case stylus || pen:
		tablet = true
	case fingerOnly && !direct:
		touchpad = true
	case mouseButton: // VMware's USB mouse: absolute axes, neither touch nor pressure
		absMouse = true
	case touch || direct:
		touchscreen = true
	default:
		joystick = buttons > 0 || axes > 0
	}
	if multitouch {
		switch {
		case stylus || pen:
			tablet = true
		case fingerOnly && !direct:
			touchpad = true
		case touch || direct:
			touchscreen = true
		}
	}
	tabletPad = tablet && padButtons
	mouse = !tablet && !touchpad && !joystick && mouseButton && (relXY || !absXY)
	if mouse && c.bus == busI2C {
		stick = true // there is no mouse on I²C
	}
	if joystick {
		known := 0
		if keys {
			for _, k := range wellKnownKeys {
				if c.key.has(k) {
					known++
				}
			}
		}
		if known >= 4 || buttons+axes < 2 {
			joystick = false
		}
	}
	for _, kind := range [...]struct {
		is   bool
		name string
	}{
		{stick, "ID_INPUT_POINTINGSTICK"}, {mouse || absMouse, "ID_INPUT_MOUSE"}, {touchpad, "ID_INPUT_TOUCHPAD"},
		{touchscreen, "ID_INPUT_TOUCHSCREEN"}, {joystick, "ID_INPUT_JOYSTICK"}, {tablet, "ID_INPUT_TABLET"},
		{tabletPad, "ID_INPUT_TABLET_PAD"},
	} {
		if kind.is {
			call.Set(kind.name, "1")
		}
	}
	return tablet || mouse || absMouse || touchpad || touchscreen || joystick || stick
}

// keys says whether the device has keys, and whether it is a whole keyboard: Esc, the digits, and Q to D.
func (c *capabilities) keys(call *Call) bool {
	if !c.ev.has(evKey) {
		return false
	}
	found := c.key[0]|c.key[1]|c.key[2]|c.key[3] != 0 || c.key.count(keyOK, btnDpadUp-1) > 0 ||
		c.key.count(keyALSToggle, btnTriggerHappy1-1) > 0
	if found {
		call.Set("ID_INPUT_KEY", "1")
	}
	if c.key[0]&0xfffffffe == 0xfffffffe {
		call.Set("ID_INPUT_KEYBOARD", "1")
		return true
	}
	return found
}

// absInfo is struct input_absinfo.
type absInfo struct{ Value, Minimum, Maximum, Fuzz, Flat, Resolution int32 }

// evioc composes an evdev request. Kernel: include/uapi/linux/input.h.
func evioc(dir, nr, size uint) uint { return dir<<30 | size<<16 | 'E'<<8 | nr }

const (
	iocWrite = 1
	iocRead  = 2
)

func getAbs(n Node, axis uint) (absInfo, error) {
	var b [24]byte
	if _, err := n.Ioctl(evioc(iocRead, 0x40+axis, 24), b[:]); err != nil {
		return absInfo{}, err
	}
	i := func(k int) int32 { return int32(binary.NativeEndian.Uint32(b[4*k:])) }
	return absInfo{i(0), i(1), i(2), i(3), i(4), i(5)}, nil
}

func setAbs(n Node, axis uint, a absInfo) error {
	var b [24]byte
	for i, v := range []int32{a.Value, a.Minimum, a.Maximum, a.Fuzz, a.Flat, a.Resolution} {
		binary.NativeEndian.PutUint32(b[4*i:], uint32(v))
	}
	_, err := n.Ioctl(evioc(iocWrite, 0xc0+axis, 24), b[:])
	return err
}

// surface sets the size in millimetres of what has a resolution on both axes.
func (t *Table) surface(call *Call, dev *hotplug.Device) {
	n, err := t.opts.Open(dev, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return
	}
	defer n.Close()
	x, err := getAbs(n, absX)
	if err != nil {
		return
	}
	y, err := getAbs(n, absY)
	if err != nil || x.Resolution <= 0 || y.Resolution <= 0 {
		return
	}
	call.Set("ID_INPUT_WIDTH_MM", itoa(int((x.Maximum-x.Minimum)/x.Resolution)))
	call.Set("ID_INPUT_HEIGHT_MM", itoa(int((y.Maximum-y.Minimum)/y.Resolution)))
}
