package hotplug

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"
	"unsafe"
)

// MaxMessage is the longest message that is parsed, in bytes. The kernel's own stay below 4 KiB (UEVENT_BUFFER_SIZE and
// a path); libudev's may hold more properties.
const MaxMessage = 64<<10 - 1

// ErrMessage is what every error of [ParseEvent] satisfies.
var ErrMessage = errors.New("not a uevent")

// Event is one uevent: an action on a device, and its properties. It is one buffer and a table of offsets, parsed once
// and never changed afterwards, so it may be read by any number of goroutines. No accessor allocates.
//
// Format: kernel, lib/kobject_uevent.c: "ACTION@DEVPATH\0KEY=VALUE\0…". A message that repeats ACTION or DEVPATH among
// its properties means the property; where a key comes twice the last one counts.
type Event struct {
	buf     string
	table   []property
	action  span
	devpath span
	old     span // DEVPATH_OLD
	subsys  span
	seqnum  uint64
	at      time.Duration // a listener's word, before anybody else has the event
	flags   uint8
}

const (
	headerAction  = 1 << iota // ACTION stands in the header alone
	headerDevpath             // DEVPATH stands in the header alone
)

// span is a part of the buffer.
type span struct{ from, to uint16 }

// property is one KEY=VALUE of the buffer: where it begins, where its '=' is, and where it ends.
type property struct{ from, eq, to uint16 }

// Two sizes hold nearly every message together with its offsets, so that an event is one allocation of a few hundred
// bytes. What is larger gets its parts one by one.
const (
	smallProperties, smallBytes = 14, 232
	largeProperties, largeBytes = 32, 520
)

type smallEvent struct {
	Event
	table [smallProperties]property
	bytes [smallBytes]byte
}

type largeEvent struct {
	Event
	table [largeProperties]property
	bytes [largeBytes]byte
}

// ParseEvent parses one message, the kernel's or one in libudev's frame. The event keeps its own copy of b. An error
// satisfies errors.Is(err, ErrMessage).
func ParseEvent(b []byte) (*Event, error) {
	body := b
	var header []byte
	if bytes.HasPrefix(b, []byte(framePrefix)) {
		properties, err := frameProperties(b)
		if err != nil {
			return nil, err
		}
		body = properties
	} else {
		end := bytes.IndexByte(b, 0)
		if end < 0 {
			return nil, bad("no NUL after the header", b)
		}
		header = b[:end]
		if at := bytes.IndexByte(header, '@'); at <= 0 || at == len(header)-1 {
			return nil, bad("no ACTION@DEVPATH", b)
		}
	}
	if len(body) > MaxMessage {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrMessage, len(body), MaxMessage)
	}
	count := bytes.Count(body, []byte{0}) + 1 // the last may lack its NUL

	var e *Event
	switch {
	case len(body) <= smallBytes && count <= smallProperties:
		s := new(smallEvent)
		e = &s.Event
		e.table = s.table[:0]
		e.buf = unsafe.String(&s.bytes[0], copy(s.bytes[:], body)) // written here, once, and never again
	case len(body) <= largeBytes && count <= largeProperties:
		l := new(largeEvent)
		e = &l.Event
		e.table = l.table[:0]
		e.buf = unsafe.String(&l.bytes[0], copy(l.bytes[:], body))
	default:
		e = &Event{buf: string(body), table: make([]property, 0, count)}
	}
	if err := e.parse(len(header)); err != nil {
		return nil, err
	}
	return e, nil
}

// parse fills the table from the buffer, which begins with a header of so many bytes and a NUL, or, for 0, with the
// first property.
func (e *Event) parse(header int) error {
	at := 0
	if header > 0 {
		sep := strings.IndexByte(e.buf[:header], '@')
		e.action = span{0, uint16(sep)}
		e.devpath = span{uint16(sep + 1), uint16(header)}
		e.flags = headerAction | headerDevpath
		at = header + 1
	}
	broken := strings.IndexByte(e.buf, '\n') >= 0 || strings.IndexByte(e.buf, '\r') >= 0
	for at < len(e.buf) {
		end := strings.IndexByte(e.buf[at:], 0)
		if end < 0 {
			end = len(e.buf)
		} else {
			end += at
		}
		if end == at { // two NULs: libudev ends so
			at++
			continue
		}
		to := end
		if broken { // a driver's mistake: udev takes what stands before a line break
			if n := strings.IndexAny(e.buf[at:end], "\n\r"); n >= 0 {
				to = at + n
			}
		}
		eq := strings.IndexByte(e.buf[at:to], '=')
		if eq <= 0 {
			return bad("a property without '='", []byte(e.buf[at:end]))
		}
		p := property{uint16(at), uint16(at + eq), uint16(to)}
		value := span{p.eq + 1, p.to}
		switch e.buf[at : at+eq] {
		case "ACTION":
			e.action = value
			e.flags &^= headerAction
		case "DEVPATH":
			e.devpath = value
			e.flags &^= headerDevpath
		case "DEVPATH_OLD":
			e.old = value
		case "SUBSYSTEM":
			e.subsys = value
		case "SEQNUM":
			n, err := strconv.ParseUint(e.text(value), 10, 64)
			if err != nil {
				return bad("SEQNUM is no number", []byte(e.buf[at:end]))
			}
			e.seqnum = n
		}
		e.table = append(e.table, p)
		at = end + 1
	}
	if e.action.from == e.action.to {
		return bad("no action", []byte(e.buf))
	}
	if !validDevpath(e.Devpath()) {
		return bad("DEVPATH is no path below /sys", []byte(e.Devpath()))
	}
	if old := e.DevpathOld(); old != "" && !validDevpath(old) {
		return bad("DEVPATH_OLD is no path below /sys", []byte(old))
	}
	return nil
}

// NewEvent makes an event as if the kernel had sent it. Each property is "KEY=value"; ACTION, DEVPATH and SUBSYSTEM
// come from the arguments. It is for programs that state their own events; a devpath that is no path below /sys is a
// mistake of theirs, and panics.
func NewEvent(action, devpath, subsystem string, properties ...string) *Event {
	e, err := ParseEvent(AppendMessage(nil, action, devpath, subsystem, properties...))
	if err != nil {
		panic("hotplug.NewEvent: " + err.Error())
	}
	return e
}

// AppendMessage appends the message of an event to b in the kernel's format.
func AppendMessage(b []byte, action, devpath, subsystem string, properties ...string) []byte {
	b = append(b, action...)
	b = append(b, '@')
	b = append(b, devpath...)
	b = append(b, "\x00ACTION="...)
	b = append(b, action...)
	b = append(b, "\x00DEVPATH="...)
	b = append(b, devpath...)
	if subsystem != "" {
		b = append(b, "\x00SUBSYSTEM="...)
		b = append(b, subsystem...)
	}
	for _, p := range properties {
		b = append(b, 0)
		b = append(b, p...)
	}
	return append(b, 0)
}

func (e *Event) text(s span) string { return e.buf[s.from:s.to] }

// Action is what happened: add, remove, change, move, online, offline, bind or unbind.
func (e *Event) Action() string { return e.text(e.action) }

// Devpath is the device's path in sysfs without /sys in front. It begins with '/' and has no "." or ".." in it.
func (e *Event) Devpath() string { return e.text(e.devpath) }

// DevpathOld is the path that a moved device had before, "" for another action.
func (e *Event) DevpathOld() string { return e.text(e.old) }

// Subsystem is the class or bus of the device.
func (e *Event) Subsystem() string { return e.text(e.subsys) }

// Seqnum is the kernel's number of the event, 0 when there is none. It counts all network namespaces together, and
// events need not arrive in its order.
func (e *Event) Seqnum() uint64 { return e.seqnum }

// Devname is the node's name as the kernel gives it, without /dev/ in front; "" for none.
func (e *Event) Devname() string { return strings.TrimPrefix(e.Value("DEVNAME"), "/dev/") }

// Devtype is the kind of device within its subsystem: disk, partition, usb_interface…
func (e *Event) Devtype() string { return e.Value("DEVTYPE") }

// Devnum returns the device number, and whether the event has one.
func (e *Event) Devnum() (Devnum, bool) {
	return parseDevnum(e.Value("MAJOR"), e.Value("MINOR"))
}

// Ifindex is a network interface's index, 0 for another device.
func (e *Event) Ifindex() int {
	n, _ := strconv.ParseUint(e.Value("IFINDEX"), 10, 31)
	return int(n)
}

// Received is when a [Listener] read the event from its socket, of the monotonic clock; 0 for an event that came otherwise.
func (e *Event) Received() time.Duration { return e.at }

// UUID is what the writer of a uevent file gave with the action (SYNTH_UUID), "0" when it gave none, "" for an event of
// the kernel's own making.
// Kernel: Documentation/ABI/testing/sysfs-uevent.
func (e *Event) UUID() string { return e.Value("SYNTH_UUID") }

// Value returns the value of key, "" when the event does not have it.
func (e *Event) Value(key string) string {
	v, _ := e.Get(key)
	return v
}

// Get returns the value of key, and whether the event has it.
func (e *Event) Get(key string) (string, bool) {
	for i := len(e.table) - 1; i >= 0; i-- {
		p := e.table[i]
		if e.buf[p.from:p.eq] == key {
			return e.buf[p.eq+1 : p.to], true
		}
	}
	switch {
	case key == "ACTION" && e.flags&headerAction != 0:
		return e.Action(), true
	case key == "DEVPATH" && e.flags&headerDevpath != 0:
		return e.Devpath(), true
	}
	return "", false
}

// All ranges over the event's properties in their order.
func (e *Event) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		if e.flags&headerAction != 0 && !yield("ACTION", e.Action()) {
			return
		}
		if e.flags&headerDevpath != 0 && !yield("DEVPATH", e.Devpath()) {
			return
		}
		for _, p := range e.table {
			if !yield(e.buf[p.from:p.eq], e.buf[p.eq+1:p.to]) {
				return
			}
		}
	}
}

// String is the header of the event: "add@/devices/…".
func (e *Event) String() string { return e.Action() + "@" + e.Devpath() }

// validDevpath says whether p can be a path in sysfs: it begins with '/', and no part of it is empty, "." or "..".
func validDevpath(p string) bool {
	if len(p) < 2 || p[0] != '/' {
		return false
	}
	from := 1
	for i := 1; i <= len(p); i++ {
		if i < len(p) && p[i] != '/' {
			continue
		}
		if part := p[from:i]; part == "" || part == "." || part == ".." {
			return false
		}
		from = i + 1
	}
	return true
}

func parseDevnum(major, minor string) (Devnum, bool) {
	maj, err := strconv.ParseUint(major, 10, 32)
	if err != nil || maj == 0 {
		return Devnum{}, false
	}
	min, err := strconv.ParseUint(minor, 10, 32)
	if err != nil && minor != "" {
		return Devnum{}, false
	}
	return Devnum{uint32(maj), uint32(min)}, true
}

// bad is an error about a message, with the beginning of what is wrong.
func bad(what string, text []byte) error {
	const show = 60
	if len(text) > show {
		text = text[:show]
	}
	return fmt.Errorf("%w: %s: %q", ErrMessage, what, text)
}
