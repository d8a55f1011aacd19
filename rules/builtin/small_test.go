package builtin

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/hotplug/hotplugtest"
	"github.com/kudev/kudev/rules/builtin/hwdb"
)

func TestHwdbAsksTheDevicesAbove(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hwdb.bin")
	var c hwdb.Compiler
	err := c.Add("x", strings.NewReader("usb:v46F4p0001:QEMU*\n A=stick\n B=b\n\npci:v00008086*\n A=controller\n\nkey:direct\n A=direct\n"))
	if err == nil {
		err = c.WriteFile(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	roots := usbTree(t)
	hotplugtest.Add(t, roots, "/devices/pci0000:00/0000:00:14.0 subsystem=pci\n\tuevent MODALIAS=pci:v00008086d1\n")
	table := New(Options{HWDB: hwdb.NewFile(path)})
	for line, want := range map[string][]string{
		"hwdb --subsystem=usb":                {"A=stick", "B=b"},
		"hwdb --subsystem=usb --filter=B*":    {"B=b"},
		"hwdb -s pci":                         {"A=controller"},
		"hwdb --lookup-prefix=key: direct":    {"A=direct"},
		"hwdb --device=+pci:0000:00:14.0":     {"A=controller"},
		"hwdb nothing":                        nil,
		"hwdb --subsystem=acpi":               nil,
		"hwdb --nonsense":                     nil,
		"hwdb --subsystem=usb --filter=\\B*x": nil,
	} {
		got, err := run(t, table, roots, stick, line)
		if diff := cmp.Diff(want, got); diff != "" || (err != nil) != (want == nil) {
			t.Errorf("%s: %v (-want +got):\n%s", line, err, diff)
		}
	}
}

// keyNode keeps what it is asked.
type keyNode struct {
	fakeNode
	set [][]byte
}

func (k *keyNode) Ioctl(r uint, b []byte) (int, error) {
	switch r & 0xff {
	case 0x20: // the event types
		b[0] = 1 << evAbs
	case 0x04, 0xc0:
		k.set = append(k.set, slices.Clone(b))
	}
	return 0, nil
}

func TestKeyboard(t *testing.T) {
	roots := hotplugtest.Tree(t, "/devices/platform/serio0 subsystem=serio\n\tforce_release 1,2\n\tsensitivity 5\n"+
		"/devices/platform/serio0/input/input1/event1 subsystem=input dev=13:65\n\tuevent DEVNAME=input/event1\n")
	node := &keyNode{}
	dev, err := roots.Device("/devices/platform/serio0/input/input1/event1")
	if err != nil {
		t.Fatal(err)
	}
	props := map[string]string{"KEYBOARD_KEY_a0": "!mute", "KEYBOARD_KEY_b1": "key_volumeup", "KEYBOARD_KEY_b2": "600", "KEYBOARD_KEY_zz": "mute",
		"KEYBOARD_KEY_b3": "nosuchkey", "EVDEV_ABS_00": "1:2::4", "POINTINGSTICK_SENSITIVITY": "200", "OTHER": "x"}
	table := New(Options{Open: func(*hotplug.Device, int) (Node, error) { return node, nil }})
	if err := table.Run(context.Background(), "keyboard", &Call{Device: dev, All: maps.All(props)}); err != nil {
		t.Fatal(err)
	}
	want := [][]byte{{0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		{0xa0, 0, 0, 0, 113, 0, 0, 0}, {0xb1, 0, 0, 0, 115, 0, 0, 0}, {0xb2, 0, 0, 0, 0x58, 2, 0, 0}}
	if diff := cmp.Diff(want, node.set); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{"force_release": "1,2,160", "sensitivity": "200"} {
		if b, _ := os.ReadFile(roots.Sys + "/devices/platform/serio0/" + name); strings.TrimSpace(string(b)) != want {
			t.Errorf("%s is %q, want %q", name, b, want)
		}
	}
	if err := table.Run(context.Background(), "keyboard", &Call{Device: dev}); err == nil {
		t.Error("without properties there is nothing to work on, which is an error")
	}
}

func TestAccessForTheUserOfTheSeat(t *testing.T) {
	none := ^uint32(0)
	plain := []ACLEntry{{ACLOwner, 6, none}, {ACLOwnerGroup, 6, none}, {ACLOther, 0, none}}
	granted := grant(plain, 1000, true)
	want := []ACLEntry{{ACLOwner, 6, none}, {ACLUser, 6, 1000}, {ACLOwnerGroup, 6, none}, {ACLMask, 6, none}, {ACLOther, 0, none}}
	if diff := cmp.Diff(want, granted); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := grant(granted, 1001, true); got[1].ID != 1001 || len(got) != 5 {
		t.Errorf("the next user: %+v", got)
	}
	if got := grant(plain, 0, false); !slices.Equal(got, plain) {
		t.Errorf("nobody: %+v", got)
	}
}

func TestUaccess(t *testing.T) {
	roots := hotplugtest.Tree(t, "/devices/x/card0 subsystem=sound\n\tuevent DEVNAME=snd/c0\n")
	var got []ACLEntry
	table := New(Options{SetACL: func(_ string, acl []ACLEntry) error { got = acl; return nil }})
	call := func() {
		t.Helper()
		if _, err := run(t, table, roots, "/devices/x/card0", "uaccess"); err != nil {
			t.Error(err)
		}
	}
	call() // without a login manager nothing is done
	if got != nil {
		t.Errorf("got %+v", got)
	}
	for path, text := range map[string]string{roots.Run + "/systemd/seats/seat0": "IS_SEAT0=1\nACTIVE=1\nACTIVE_UID=1000\n", roots.Dev + "/snd/c0": ""} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o660); err != nil {
			t.Fatal(err)
		}
	}
	call()
	if len(got) != 5 || got[1] != (ACLEntry{ACLUser, 6, 1000}) {
		t.Errorf("got %+v", got)
	}
}

func TestKmodGoesOnAfterAFailure(t *testing.T) {
	var asked []string
	table := New(Options{Load: func(_ context.Context, alias string) error {
		asked = append(asked, alias)
		return errors.New("no")
	}})
	roots := hotplugtest.Tree(t, "/devices/x subsystem=pci\n")
	for _, line := range []string{"kmod load a b", "kmod load"} {
		if _, err := run(t, table, roots, "/devices/x", line, "MODALIAS=pci:x"); err != nil {
			t.Error(err)
		}
	}
	if !slices.Equal(asked, []string{"a", "b", "pci:x"}) {
		t.Errorf("asked for %q", asked)
	}
	if _, err := run(t, table, roots, "/devices/x", "kmod unload a"); err == nil {
		t.Error("kmod unload is no builtin")
	}
}
