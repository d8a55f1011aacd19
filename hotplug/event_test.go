package hotplug

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// What a 6.1 kernel sends for a disk.
const diskMessage = "add@/devices/pci0000:00/0000:00:04.0/virtio1/block/vda\x00ACTION=add\x00DEVPATH=/devices/pci0000:00/0000:00:04.0/virtio1/block/vda\x00" +
	"SUBSYSTEM=block\x00MAJOR=254\x00MINOR=0\x00DEVNAME=vda\x00DEVTYPE=disk\x00DISKSEQ=9\x00SEQNUM=1184\x00"

func TestKernelMessageIsParsed(t *testing.T) {
	e, err := ParseEvent([]byte(diskMessage))
	if err != nil {
		t.Fatal(err)
	}
	num, ok := e.Devnum()
	got := fmt.Sprint(e.Action(), " ", e.Devpath(), " ", e.Subsystem(), " ", e.Seqnum(), " ", e.Devname(), " ", e.Devtype(), " ", num, ok, " ", e.Ifindex(), e.UUID())
	want := "add /devices/pci0000:00/0000:00:04.0/virtio1/block/vda block 1184 vda disk 254:0 true 0"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if v, ok := e.Get("DISKSEQ"); v != "9" || !ok {
		t.Errorf("DISKSEQ is %q, %v", v, ok)
	}
	if _, ok := e.Get("DISK"); ok {
		t.Error("a key that is only the beginning of another was found")
	}
	var keys []string
	for key := range e.All() {
		keys = append(keys, key)
	}
	if want := strings.Fields("ACTION DEVPATH SUBSYSTEM MAJOR MINOR DEVNAME DEVTYPE DISKSEQ SEQNUM"); !slices.Equal(keys, want) {
		t.Errorf("keys are %v", keys)
	}
}

// A message that a process sends to the kernel's port is broadcast as it is, with SEQNUM behind it: nothing but the
// header need say what happened to what.
func TestHeaderAloneIsEnough(t *testing.T) {
	e, err := ParseEvent([]byte("move@/devices/virtual/net/b@r\x00DEVPATH_OLD=/devices/virtual/net/a\x00IFINDEX=7\x00KEY=a=b\x00SEQNUM=3\x00"))
	if err != nil {
		t.Fatal(err)
	}
	action, _ := e.Get("ACTION")
	devpath, _ := e.Get("DEVPATH")
	got := fmt.Sprint(action, " ", devpath, " ", e.DevpathOld(), " ", e.Ifindex(), " ", e.Value("KEY"))
	if want := "move /devices/virtual/net/b@r /devices/virtual/net/a 7 a=b"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	n := 0
	for range e.All() {
		n++
	}
	if n != 6 {
		t.Errorf("%d properties, want 6", n)
	}
}

func TestEventKeepsItsOwnCopy(t *testing.T) {
	b := []byte(diskMessage)
	e, err := ParseEvent(b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] = 'x'
	}
	if e.Action() != "add" || e.Devname() != "vda" {
		t.Errorf("the event changed with the buffer: %v", e)
	}
}

func TestLaterPropertyCounts(t *testing.T) {
	e := NewEvent("change", "/devices/x", "test", "A=1", "A=2")
	if e.Value("A") != "2" {
		t.Errorf("A is %q, want 2", e.Value("A"))
	}
}

// Some drivers put a line break into what they say: it would forge lines of the record.
func TestALineBreakEndsAValue(t *testing.T) {
	e, err := ParseEvent([]byte("add@/devices/x\x00ACTION=add\x00DEVPATH=/devices/x\x00A=one\nE:FORGED=1\x00B=two\r\x00C=\n\x00D=four\x00"))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"A": "one", "B": "two", "C": "", "D": "four"} {
		if got, ok := e.Get(key); got != want || !ok {
			t.Errorf("%s is %q, %v", key, got, ok)
		}
	}
	if _, err := ParseEvent([]byte("add@/devices/x\x00A\n=one\x00")); err == nil {
		t.Error("a line break in a key is taken")
	}
}

func TestSizesOfEvent(t *testing.T) {
	for _, n := range []int{0, 1, 10, 13, 14, 15, 31, 32, 33, 100, 1000} {
		var properties []string
		for i := range n {
			properties = append(properties, fmt.Sprintf("KEY%d=value %d", i, i))
		}
		e := NewEvent("add", "/devices/x", "test", properties...)
		for i := range n {
			if v := e.Value(fmt.Sprintf("KEY%d", i)); v != fmt.Sprintf("value %d", i) {
				t.Fatalf("of %d properties, number %d is %q", n, i, v)
			}
		}
	}
}

func frame(properties string) []byte {
	b := make([]byte, 40)
	copy(b, "libudev\x00")
	binary.BigEndian.PutUint32(b[8:], 0xfeedcafe)
	binary.NativeEndian.PutUint32(b[12:], 40)
	binary.NativeEndian.PutUint32(b[16:], 40)
	binary.NativeEndian.PutUint32(b[20:], uint32(len(properties)))
	return append(b, properties...)
}

func TestLibudevFrameIsParsed(t *testing.T) {
	e, err := ParseEvent(frame("ACTION=add\x00DEVPATH=/devices/x\x00SUBSYSTEM=net\x00DEVNAME=/dev/x\x00"))
	if err != nil {
		t.Fatal(err)
	}
	if e.Action() != "add" || e.Devpath() != "/devices/x" || e.Subsystem() != "net" || e.Devname() != "x" {
		t.Errorf("got %v, %s, %s", e, e.Subsystem(), e.Devname())
	}
}

func TestGarbageIsAnError(t *testing.T) {
	short := frame("ACTION=add\x00DEVPATH=/devices/x\x00")
	for name, message := range map[string][]byte{
		"nothing":                  nil,
		"no NUL":                   []byte("add@/devices/x"),
		"no action":                []byte("@/devices/x\x00"),
		"no path":                  []byte("add@\x00"),
		"no at":                    []byte("add/devices/x\x00"),
		"relative path":            []byte("add@devices/x\x00"),
		"path that goes up":        []byte("add@/devices/../../etc\x00"),
		"property goes up":         []byte("add@/devices/x\x00DEVPATH=/../etc\x00"),
		"old path goes up":         []byte("move@/devices/x\x00DEVPATH_OLD=/..\x00"),
		"empty part":               []byte("add@/devices//x\x00"),
		"property without equals":  []byte("add@/devices/x\x00KEY\x00"),
		"property without key":     []byte("add@/devices/x\x00=value\x00"),
		"seqnum of letters":        []byte("add@/devices/x\x00SEQNUM=abc\x00"),
		"frame without header":     []byte("libudev\x00"),
		"frame cut short":          short[:len(short)-3],
		"frame of other magic":     append([]byte("libudev\x00\x01\x02\x03\x04"), short[12:]...),
		"frame without properties": frame(""),
		"64 KiB":                   append([]byte("add@/devices/x\x00KEY="), bytes.Repeat([]byte("x"), 64<<10)...),
	} {
		if e, err := ParseEvent(message); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: event %v, error %v", name, e, err)
		}
	}
}

func FuzzParseEvent(f *testing.F) {
	f.Add([]byte(diskMessage))
	f.Add([]byte("add@/devices/x\x00"))
	f.Add([]byte("@\x00=\x00\x00"))
	f.Add(frame("ACTION=add\x00DEVPATH=/devices/x\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseEvent(b)
		if err != nil {
			if !errors.Is(err, ErrMessage) || e != nil {
				t.Fatalf("event %v, error %v", e, err)
			}
			return
		}
		if e.Action() == "" || !validDevpath(e.Devpath()) {
			t.Fatalf("an event without action or path: %q", b)
		}
		for key := range e.All() {
			if _, ok := e.Get(key); !ok {
				t.Fatalf("All shows %q, Get does not", key)
			}
		}
	})
}

func BenchmarkParseEvent(b *testing.B) {
	message := []byte(diskMessage)
	b.ReportAllocs()
	b.SetBytes(int64(len(message)))
	for b.Loop() {
		if _, err := ParseEvent(message); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEventGet(b *testing.B) {
	e, _ := ParseEvent([]byte(diskMessage))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := e.Get("SEQNUM"); !ok {
			b.Fatal()
		}
	}
}
