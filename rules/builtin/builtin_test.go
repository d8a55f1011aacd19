package builtin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/hotplug/hotplugtest"
)

// run runs a builtin on a device of the tree and returns the properties it set, "KEY=value" in order.
func run(t testing.TB, table *Table, roots hotplug.Roots, devpath, line string, have ...string) ([]string, error) {
	t.Helper()
	dev, err := roots.Device(devpath)
	if err != nil {
		t.Fatal(err)
	}
	name, args, _ := strings.Cut(line, " ")
	props := map[string]string{}
	for _, h := range have {
		k, v, _ := strings.Cut(h, "=")
		props[k] = v
	}
	var got []string
	call := &Call{Device: dev, Args: strings.Fields(args),
		Get: func(key string) (string, bool) { v, ok := props[key]; return v, ok },
		Set: func(key, value string) { props[key] = value; got = append(got, key+"="+value) },
		All: maps.All(props),
	}
	err = table.Run(context.Background(), name, call)
	return got, err
}

// check wants exactly these properties; a nil want is an import that fails.
func check(t *testing.T, roots hotplug.Roots, devpath, line string, want ...string) {
	t.Helper()
	got, err := run(t, New(Options{}), roots, devpath, line)
	if want == nil {
		if err == nil {
			t.Errorf("%s %s: set %q, want a failure", line, devpath, got)
		}
		return
	}
	if err != nil {
		t.Errorf("%s %s: %v", line, devpath, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s %s (-want +got):\n%s", line, devpath, diff)
	}
}

func TestUnknownBuiltin(t *testing.T) {
	if err := New(Options{}).Run(context.Background(), "nonesuch", &Call{}); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
	for name := range New(Options{}).All() {
		if !IsName(name) {
			t.Errorf("IsName(%q) is false", name)
		}
	}
}

const disks = `
/devices/pci0000:00 subsystem=none
/devices/pci0000:00/0000:00:1f.2 subsystem=pci driver=ahci
/devices/pci0000:00/0000:00:1f.2/ata3 subsystem=none
/devices/pci0000:00/0000:00:1f.2/ata3/ata_port/ata3 subsystem=ata_port
	port_no 3
/devices/pci0000:00/0000:00:1f.2/ata3/host2 subsystem=scsi
	uevent DEVTYPE=scsi_host
/devices/pci0000:00/0000:00:1f.2/ata3/host2/target2:0:1 subsystem=scsi
	uevent DEVTYPE=scsi_target
/devices/pci0000:00/0000:00:1f.2/ata3/host2/target2:0:1/2:0:1:0 subsystem=scsi driver=sd
	uevent DEVTYPE=scsi_device
/devices/pci0000:00/0000:00:1f.2/ata3/host2/target2:0:1/2:0:1:0/block/sda subsystem=block dev=8:0
	uevent DEVNAME=sda
	uevent DEVTYPE=disk
/devices/pci0000:00/0000:00:1f.2/ata3/host2/target2:0:1/2:0:1:0/block/sda/sda1 subsystem=block dev=8:1
	uevent DEVTYPE=partition

/devices/pci0000:00/0000:00:05.0 subsystem=pci
/devices/pci0000:00/0000:00:05.0/virtio2 subsystem=virtio
/devices/pci0000:00/0000:00:05.0/virtio2/block/vda subsystem=block dev=254:0
/devices/pci0000:00/0000:00:05.0/virtio2/host7 subsystem=scsi
	uevent DEVTYPE=scsi_host
/devices/pci0000:00/0000:00:05.0/virtio2/host9 subsystem=scsi
	uevent DEVTYPE=scsi_host
/devices/pci0000:00/0000:00:05.0/virtio2/host9/target9:0:0 subsystem=scsi
	uevent DEVTYPE=scsi_target
/devices/pci0000:00/0000:00:05.0/virtio2/host9/target9:0:0/9:0:0:3 subsystem=scsi
	uevent DEVTYPE=scsi_device
/devices/pci0000:00/0000:00:05.0/virtio2/host9/target9:0:0/9:0:0:3/block/sdc subsystem=block dev=8:32

/devices/pci0000:00/0000:00:06.0 subsystem=pci
/devices/pci0000:00/0000:00:06.0/nvme/nvme0 subsystem=nvme
/devices/pci0000:00/0000:00:06.0/nvme/nvme0/nvme0n1 subsystem=block dev=259:0
	nsid 1
/devices/virtual/nvme-subsystem/nvme-subsys0 subsystem=nvme-subsystem
/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n2 subsystem=block dev=259:1
	nsid 2

/devices/pci0000:00/0000:00:07.0 subsystem=pci
	uevent DRIVER=mpt3sas
/devices/pci0000:00/0000:00:07.0/host4 subsystem=scsi
	uevent DEVTYPE=scsi_host
/devices/pci0000:00/0000:00:07.0/host4/port-4:0 subsystem=none
/devices/pci0000:00/0000:00:07.0/host4/port-4:0/sas_port/port-4:0 subsystem=sas_port
	num_phys 1
/devices/pci0000:00/0000:00:07.0/host4/port-4:0/end_device-4:0 subsystem=none
/devices/pci0000:00/0000:00:07.0/host4/port-4:0/end_device-4:0/sas_device/end_device-4:0 subsystem=sas_device
	sas_address 0x5000c50000000001
	phy_identifier 6
/devices/pci0000:00/0000:00:07.0/host4/port-4:0/end_device-4:0/target4:0:0 subsystem=scsi
	uevent DEVTYPE=scsi_target
/devices/pci0000:00/0000:00:07.0/host4/port-4:0/end_device-4:0/target4:0:0/4:0:0:300 subsystem=scsi
	uevent DEVTYPE=scsi_device
/devices/pci0000:00/0000:00:07.0/host4/port-4:0/end_device-4:0/target4:0:0/4:0:0:300/block/sdd subsystem=block dev=8:48

/devices/platform/host8 subsystem=scsi
	uevent DEVTYPE=scsi_host
/devices/platform/host8/session1 subsystem=none
/devices/platform/host8/session1/iscsi_session/session1 subsystem=iscsi_session
	targetname iqn.2001-04.com.example:disk
/devices/platform/host8/session1/connection1:0/iscsi_connection/connection1:0 subsystem=iscsi_connection
	persistent_address 192.0.2.1
	persistent_port 3260
/devices/platform/host8/session1/target8:0:0 subsystem=scsi
	uevent DEVTYPE=scsi_target
/devices/platform/host8/session1/target8:0:0/8:0:0:1 subsystem=scsi
	uevent DEVTYPE=scsi_device
/devices/platform/host8/session1/target8:0:0/8:0:0:1/block/sde subsystem=block dev=8:64

/devices/virtual/block/loop0 subsystem=block dev=7:0
/devices/platform/i8042/serio0 subsystem=serio
/devices/platform/i8042 subsystem=platform
/devices/platform/i8042/serio0/input/input1 subsystem=input
/devices/platform/i8042/serio0/input/input1/event1 subsystem=input dev=13:65
`

func TestPathOfADisk(t *testing.T) {
	roots := hotplugtest.Tree(t, disks)
	ata := "/devices/pci0000:00/0000:00:1f.2/ata3/host2/target2:0:1/2:0:1:0/block/sda"
	for _, devpath := range []string{ata, ata + "/sda1"} {
		check(t, roots, devpath, "path_id", "ID_PATH=pci-0000:00:1f.2-ata-3.1", "ID_PATH_TAG=pci-0000_00_1f_2-ata-3_1",
			"ID_PATH_ATA_COMPAT=pci-0000:00:1f.2-ata-3")
	}
	check(t, roots, "/devices/pci0000:00/0000:00:05.0/virtio2/block/vda", "path_id",
		"ID_PATH=pci-0000:00:05.0", "ID_PATH_TAG=pci-0000_00_05_0")
	check(t, roots, "/devices/pci0000:00/0000:00:05.0/virtio2/host9/target9:0:0/9:0:0:3/block/sdc", "path_id",
		"ID_PATH=pci-0000:00:05.0-scsi-2:0:0:3", "ID_PATH_TAG=pci-0000_00_05_0-scsi-2_0_0_3")
	check(t, roots, "/devices/pci0000:00/0000:00:06.0/nvme/nvme0/nvme0n1", "path_id",
		"ID_PATH=pci-0000:00:06.0-nvme-1", "ID_PATH_TAG=pci-0000_00_06_0-nvme-1")
	check(t, roots, "/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n2", "path_id",
		"ID_PATH=pci-0000:00:06.0-nvme-2", "ID_PATH_TAG=pci-0000_00_06_0-nvme-2")
	check(t, roots, "/devices/pci0000:00/0000:00:07.0/host4/port-4:0/end_device-4:0/target4:0:0/4:0:0:300/block/sdd", "path_id",
		"ID_PATH=pci-0000:00:07.0-sas-phy6-lun-0x012c000000000000", "ID_PATH_TAG=pci-0000_00_07_0-sas-phy6-lun-0x012c000000000000")
	check(t, roots, "/devices/platform/host8/session1/target8:0:0/8:0:0:1/block/sde", "path_id",
		"ID_PATH=ip-192.0.2.1:3260-iscsi-iqn.2001-04.com.example:disk-lun-1",
		"ID_PATH_TAG=ip-192_0_2_1_3260-iscsi-iqn_2001-04_com_example_disk-lun-1")
	check(t, roots, "/devices/virtual/block/loop0", "path_id")
	check(t, roots, "/devices/platform/i8042/serio0/input/input1/event1", "path_id",
		"ID_PATH=platform-i8042-serio-0", "ID_PATH_TAG=platform-i8042-serio-0")
}

const usbStick = `
/devices/pci0000:00/0000:00:14.0 subsystem=pci
/devices/pci0000:00/0000:00:14.0/usb2 subsystem=usb
	uevent DEVTYPE=usb_device
	bDeviceProtocol 03
/devices/pci0000:00/0000:00:14.0/usb2/2-1 subsystem=usb
	uevent DEVTYPE=usb_device
	idVendor 46f4
	idProduct 0001
	manufacturer QEMU
	product QEMU USB HARDDRIVE
	serial 1-0000:00:14.0-1
	bcdDevice 0000
/devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0 subsystem=usb driver=usb-storage
	uevent DEVTYPE=usb_interface
	bInterfaceNumber 00
	bInterfaceClass 08
	bInterfaceSubClass 06
/devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host5 subsystem=scsi
	uevent DEVTYPE=scsi_host
/devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host5/target5:0:0 subsystem=scsi
	uevent DEVTYPE=scsi_target
/devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host5/target5:0:0/5:0:0:0 subsystem=scsi
	uevent DEVTYPE=scsi_device
	vendor QEMU    
	model QEMU HARDDISK   
	rev 2.5+
	type 0
/devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host5/target5:0:0/5:0:0:0/block/sdb subsystem=block dev=8:16
`

const stick = "/devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host5/target5:0:0/5:0:0:0/block/sdb"

func usbTree(t testing.TB) hotplug.Roots {
	roots := hotplugtest.Tree(t, usbStick)
	descriptors := append(make([]byte, 0), 18, 1, 0, 3, 0, 0, 0, 9, 0xf4, 0x46, 1, 0, 0, 0, 1, 2, 3, 1)
	descriptors = append(descriptors, 9, 2, 32, 0, 1, 1, 0, 0x80, 0)
	descriptors = append(descriptors, 9, 4, 0, 0, 2, 8, 6, 0x50, 0)
	descriptors = append(descriptors, 7, 5, 0x81, 2, 0, 4, 0, 6, 48, 15, 0, 0, 0, 7, 5, 2, 2, 0, 4, 0, 6, 48, 15, 0, 0, 0)
	dir := roots.Sys + "/devices/pci0000:00/0000:00:14.0/usb2/2-1/"
	if err := os.WriteFile(dir+"descriptors", descriptors, 0o644); err != nil {
		t.Fatal(err)
	}
	// The kernel pads what SCSI says with blanks.
	scsi := filepath.Dir(filepath.Dir(roots.Sys + stick))
	for name, value := range map[string]string{"vendor": "QEMU    \n", "model": "QEMU HARDDISK   \n"} {
		if err := os.WriteFile(scsi+"/"+name, []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return roots
}

func TestUSBStickTakesVendorAndModelFromSCSI(t *testing.T) {
	roots := usbTree(t)
	var want []string
	for _, prefix := range []string{"ID_", "ID_USB_"} {
		if prefix == "ID_" {
			want = append(want, "ID_BUS=usb")
		}
		for _, p := range []string{"MODEL=QEMU_HARDDISK", `MODEL_ENC=QEMU\x20HARDDISK\x20\x20\x20`, "MODEL_ID=0001",
			"SERIAL=QEMU_QEMU_HARDDISK_1-0000:00:14.0-1-0:0", "SERIAL_SHORT=1-0000:00:14.0-1", "VENDOR=QEMU",
			`VENDOR_ENC=QEMU\x20\x20\x20\x20`, "VENDOR_ID=46f4", "REVISION=2.5+", "TYPE=disk", "INSTANCE=0:0"} {
			want = append(want, prefix+p)
		}
	}
	want = append(want, "ID_USB_INTERFACES=:080650:", "ID_USB_INTERFACE_NUM=00", "ID_USB_DRIVER=usb-storage")
	got, err := run(t, New(Options{}), roots, stick, "usb_id")
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("err %v (-want +got):\n%s", err, diff)
	}

	got, _ = run(t, New(Options{}), roots, stick, "usb_id", "ID_BUS=scsi")
	if slices.ContainsFunc(got, func(p string) bool { return !strings.HasPrefix(p, "ID_USB_") }) {
		t.Errorf("with ID_BUS set, only ID_USB_ properties are due: %q", got)
	}
}

func TestUSBDeviceItself(t *testing.T) {
	roots := usbTree(t)
	got, err := run(t, New(Options{}), roots, "/devices/pci0000:00/0000:00:14.0/usb2/2-1", "usb_id")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`ID_MODEL=QEMU_USB_HARDDRIVE`, `ID_MODEL_ENC=QEMU\x20USB\x20HARDDRIVE`, "ID_REVISION=0000",
		"ID_SERIAL=QEMU_QEMU_USB_HARDDRIVE_1-0000:00:14.0-1", "ID_USB_INTERFACES=:080650:"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is missing in %q", want, got)
		}
	}
	check(t, roots, "/devices/pci0000:00/0000:00:14.0", "usb_id")
}

func TestUSBRevisionInThePathOfLaterUdev(t *testing.T) {
	roots := usbTree(t)
	check(t, roots, stick, "path_id", "ID_PATH=pci-0000:00:14.0-usb-0:1:1.0-scsi-0:0:0:0", "ID_PATH_TAG=pci-0000_00_14_0-usb-0_1_1_0-scsi-0_0_0_0")
	got, err := run(t, New(Options{Udev: 257}), roots, stick, "path_id")
	want := []string{"ID_PATH_WITH_USB_REVISION=pci-0000:00:14.0-usbv3-0:1:1.0-scsi-0:0:0:0",
		"ID_PATH=pci-0000:00:14.0-usb-0:1:1.0-scsi-0:0:0:0", "ID_PATH_TAG=pci-0000_00_14_0-usb-0_1_1_0-scsi-0_0_0_0"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("err %v (-want +got):\n%s", err, diff)
	}
}

// Capabilities as real devices show them.
func TestInputDevices(t *testing.T) {
	for _, c := range []struct {
		name, ev, key, rel, abs, props string
		want                           []string
	}{
		{"AT keyboard", "120013", "402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe", "0", "0", "0",
			[]string{"ID_INPUT_KEY=1", "ID_INPUT_KEYBOARD=1"}},
		{"PS/2 mouse", "7", "1f0000 0 0 0 0", "103", "0", "1", []string{"ID_INPUT_MOUSE=1"}},
		{"QEMU USB tablet", "1f", "70000 0 0 0 0", "100", "3", "0", []string{"ID_INPUT_MOUSE=1"}},
		{"touchpad", "b", "e520 10000 0 0 0 0", "0", "260800011000003", "5", []string{"ID_INPUT_TOUCHPAD=1"}},
		{"power button", "3", "10000000000000 0", "0", "0", "0", []string{"ID_INPUT_KEY=1"}},
		{"lid switch", "21", "0", "0", "0", "0", []string{"ID_INPUT_SWITCH=1"}},
		// 12 buttons from BTN_MISC on are no joystick's; the axes are.
		{"joystick", "1b", "fff 0 0 0 0", "0", "30027", "0", []string{"ID_INPUT_JOYSTICK=1"}},
		{"accelerometer", "9", "0", "0", "7", "0", []string{"ID_INPUT_ACCELEROMETER=1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			roots := hotplugtest.Tree(t, fmt.Sprintf("/devices/virtual/input/input5 subsystem=input\n"+
				"\tcapabilities/ev %s\n\tcapabilities/key %s\n\tcapabilities/rel %s\n\tcapabilities/abs %s\n\tproperties %s\n"+
				"/devices/virtual/input/input5/mouse0 subsystem=input dev=13:32\n", c.ev, c.key, c.rel, c.abs, c.props))
			check(t, roots, "/devices/virtual/input/input5/mouse0", "input_id", append([]string{"ID_INPUT=1"}, c.want...)...)
		})
	}
}

func BenchmarkPathID(b *testing.B) {
	roots := usbTree(b)
	table := New(Options{})
	set := func(string, string) {}
	get := func(string) (string, bool) { return "", false }
	b.ReportAllocs()
	for b.Loop() {
		dev, err := roots.Device(stick)
		if err != nil {
			b.Fatal(err)
		}
		if err := table.pathID(context.Background(), &Call{Device: dev, Get: get, Set: set}); err != nil {
			b.Fatal(err)
		}
	}
}
