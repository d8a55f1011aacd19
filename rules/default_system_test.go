//go:build system

package rules

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/rules/builtin"
)

// parityDevice is a device of the machine on which Debian's rules and ours are compared.
type parityDevice struct {
	path, subsystem, driver string
	uevent                  string // KEY=VALUE, blank, …
	attrs                   string // NAME=VALUE, semicolon, …
	record                  string // E: lines of the record
	finds                   string // what builtins and programs find: KEY=VALUE, blank, …
}

const (
	pci  = "/devices/pci0000:00/0000:00:1f.2"
	usb  = "/devices/pci0000:00/0000:00:14.0/usb1/1-1"
	ata  = pci + "/ata1/host0/target0:0:0/0:0:0:0"
	mass = usb + "/1-1:1.0/host5/target5:0:0/5:0:0:0"
)

var parityDevices = []parityDevice{
	{pci, "pci", "ahci", "MODALIAS=pci:v1", "vendor=0x8086;device=0x2922", "", ""},
	{usb, "usb", "usb", "DEVTYPE=usb_device MAJOR=189 MINOR=1 DEVNAME=bus/usb/001/002 MODALIAS=usb:v1", "idVendor=0951;serial=AB", "", "ID_BUS=usb ID_SERIAL=Maker_Thing_AB ID_MODEL=Thing ID_USB_INTERFACES=:080650:"},
	{usb + "/1-1:1.0", "usb", "usb-storage", "DEVTYPE=usb_interface MODALIAS=usb:v1i", "bInterfaceNumber=00", "", ""},
	{ata, "scsi", "sd", "DEVTYPE=scsi_device MODALIAS=scsi:t-0x00", "vendor=ATA;type=0;scsi_level=6", "", ""},
	{ata + "/block/sda", "block", "", "MAJOR=8 MINOR=0 DEVNAME=sda DEVTYPE=disk DISKSEQ=3", "removable=0", "E:ID_BUS=ata E:ID_SERIAL=QEMU_1 E:ID_WWN_WITH_EXTENSION=0x5 E:ID_PATH=pci-1-ata-1.0 E:ID_PATH_ATA_COMPAT=pci-1-ata-1 E:ID_FS_TYPE=x", "ata_id:ID_BUS=ata ata_id:ID_SERIAL=QEMU_1 ata_id:ID_WWN_WITH_EXTENSION=0x5 path_id:ID_PATH=pci-1-ata-1.0 path_id:ID_PATH_ATA_COMPAT=pci-1-ata-1 blkid:ID_PART_TABLE_TYPE=gpt"},
	{ata + "/block/sda/sda1", "block", "", "MAJOR=8 MINOR=1 DEVNAME=sda1 DEVTYPE=partition PARTN=1", "partition=1", "", "blkid:ID_FS_USAGE=filesystem blkid:ID_FS_UUID_ENC=u-1 blkid:ID_FS_LABEL_ENC=my\\x20disk blkid:ID_PART_ENTRY_UUID=p-1 blkid:ID_PART_ENTRY_SCHEME=gpt blkid:ID_PART_ENTRY_NAME=root"},
	{mass, "scsi", "sd", "DEVTYPE=scsi_device MODALIAS=scsi:t-0x00", "vendor=Maker;type=0;scsi_level=5", "", ""},
	{mass + "/block/sdb", "block", "", "MAJOR=8 MINOR=16 DEVNAME=sdb DEVTYPE=disk DISKSEQ=4", "removable=1", "", "usb_id:ID_BUS=usb usb_id:ID_SERIAL=Maker_Thing_AB-0:0 usb_id:ID_USB_SERIAL=Maker_Thing_AB-0:0 path_id:ID_PATH=pci-2-usb-0:1:1.0-scsi-0:0:0:0 blkid:ID_FS_TYPE=vfat blkid:ID_FS_USAGE=filesystem blkid:ID_FS_UUID_ENC=1234"},
	{pci + "/host1/target1:0:0/1:0:0:0", "scsi", "sr", "DEVTYPE=scsi_device MODALIAS=scsi:t-0x05", "vendor=QEMU;type=5;scsi_level=6", "", ""},
	{pci + "/host1/target1:0:0/1:0:0:0/block/sr0", "block", "", "MAJOR=11 MINOR=0 DEVNAME=sr0 DEVTYPE=disk DISKSEQ=5", "removable=1", "", "cdrom_id:ID_CDROM=1 cdrom_id:ID_CDROM_MEDIA_TRACK_COUNT_DATA=1 ata_id:ID_BUS=ata ata_id:ID_SERIAL=QEMU_DVD path_id:ID_PATH=pci-1-ata-2 blkid:ID_FS_USAGE=filesystem blkid:ID_FS_UUID_ENC=cd"},
	{pci + "/host1/target1:0:0/1:0:0:0/scsi_generic/sg1", "scsi_generic", "", "MAJOR=21 MINOR=1 DEVNAME=sg1", "", "", ""},
	{"/devices/pci0000:00/0000:00:05.0/host2/target2:0:1/2:0:1:0", "scsi", "sd", "DEVTYPE=scsi_device", "vendor=QEMU;type=0;scsi_level=6", "", ""},
	{"/devices/pci0000:00/0000:00:05.0/host2/target2:0:1/2:0:1:0/block/sdc", "block", "", "MAJOR=8 MINOR=32 DEVNAME=sdc DEVTYPE=disk DISKSEQ=6", "removable=0", "", "scsi_id:ID_SERIAL=0QEMU_x path_id:ID_PATH=pci-5-scsi-0:0:1:0"},
	{"/devices/pci0000:00/0000:00:06.0/virtio3/block/vda", "block", "", "MAJOR=254 MINOR=0 DEVNAME=vda DEVTYPE=disk DISKSEQ=7", "serial=rootdisk", "E:ID_SERIAL=rootdisk E:ID_PATH=pci-0000:00:06.0", "path_id:ID_PATH=pci-0000:00:06.0 blkid:ID_FS_USAGE=crypto blkid:ID_FS_UUID_ENC=luks"},
	{"/devices/pci0000:00/0000:00:06.0/virtio3/block/vda/vda2", "block", "", "MAJOR=254 MINOR=2 DEVNAME=vda2 DEVTYPE=partition PARTN=2", "partition=2", "", "blkid:ID_FS_USAGE=raid blkid:ID_FS_UUID_ENC=lvm"},
	{"/devices/pci0000:00/0000:00:07.0/nvme/nvme0", "nvme", "", "MAJOR=240 MINOR=0 DEVNAME=nvme0", "serial=NV 1;model=QEMU NVMe Ctrl  ;firmware_rev=1.0", "", ""},
	{"/devices/pci0000:00/0000:00:07.0/nvme/nvme0/nvme0n1", "block", "", "MAJOR=259 MINOR=0 DEVNAME=nvme0n1 DEVTYPE=disk DISKSEQ=8", "wwid=nvme.1b36-1;nsid=1", "E:ID_WWN=nvme.1b36-1 E:ID_PATH=pci-7-nvme-1", "path_id:ID_PATH=pci-7-nvme-1"},
	{"/devices/pci0000:00/0000:00:07.0/nvme/nvme0/nvme0n1/nvme0n1p1", "block", "", "MAJOR=259 MINOR=1 DEVNAME=nvme0n1p1 DEVTYPE=partition PARTN=1", "partition=1", "", "blkid:ID_PART_ENTRY_UUID=p-2"},
	{"/devices/platform/sdhci/mmc_host/mmc0/mmc0:0001", "mmc", "mmcblk", "MODALIAS=mmc:block", "name=QEMU!;serial=0xdead", "", ""},
	{"/devices/platform/sdhci/mmc_host/mmc0/mmc0:0001/block/mmcblk0", "block", "", "MAJOR=179 MINOR=0 DEVNAME=mmcblk0 DEVTYPE=disk DISKSEQ=9", "removable=0", "E:ID_NAME=QEMU_ E:ID_SERIAL=0xdead E:ID_PATH=platform-sdhci", "path_id:ID_PATH=platform-sdhci"},
	{"/devices/platform/sdhci/mmc_host/mmc0/mmc0:0001/block/mmcblk0/mmcblk0p1", "block", "", "MAJOR=179 MINOR=1 DEVNAME=mmcblk0p1 DEVTYPE=partition", "partition=1", "", ""},
	{"/devices/platform/sdhci/mmc_host/mmc0/mmc0:0001/block/mmcblk0boot0", "block", "", "MAJOR=179 MINOR=8 DEVNAME=mmcblk0boot0 DEVTYPE=disk", "removable=0", "", "path_id:ID_PATH=platform-sdhci path_id:ID_PATH_ATA_COMPAT=x"},
	{"/devices/virtual/block/loop0", "block", "", "MAJOR=7 MINOR=0 DEVNAME=loop0 DEVTYPE=disk DISKSEQ=10", "", "", "blkid:ID_FS_USAGE=filesystem blkid:ID_FS_LABEL_ENC=img"},
	{"/devices/virtual/block/dm-0", "block", "", "MAJOR=253 MINOR=0 DEVNAME=dm-0 DEVTYPE=disk DISKSEQ=11", "", "", "blkid:ID_FS_UUID_ENC=dm blkid:ID_FS_USAGE=filesystem"},
	{usb + "/1-1:1.1", "usb", "usbhid", "DEVTYPE=usb_interface", "bInterfaceNumber=01", "", ""},
	{usb + "/1-1:1.0/input/input5", "input", "", "", "name=Maker Thing;id/bustype=0003", "", "input_id:ID_INPUT=1 input_id:ID_INPUT_KEYBOARD=1 usb_id:ID_BUS=usb usb_id:ID_SERIAL=Maker_Thing_AB path_id:ID_PATH=pci-2-usb-0:1:1.0"},
	{usb + "/1-1:1.0/input/input5/event5", "input", "", "MAJOR=13 MINOR=69 DEVNAME=input/event5", "", "", "input_id:ID_INPUT=1 input_id:ID_INPUT_KEYBOARD=1 usb_id:ID_BUS=usb usb_id:ID_SERIAL=Maker_Thing_AB path_id:ID_PATH=pci-2-usb-0:1:1.0"},
	{usb + "/1-1:1.1/input/input6/event6", "input", "", "MAJOR=13 MINOR=70 DEVNAME=input/event6", "", "", "input_id:ID_INPUT=1 input_id:ID_INPUT_MOUSE=1 usb_id:ID_BUS=usb usb_id:ID_SERIAL=Maker_Thing_AB path_id:ID_PATH=pci-2-usb-0:1:1.1"},
	{usb + "/1-1:1.1/input/input6/mouse0", "input", "", "MAJOR=13 MINOR=32 DEVNAME=input/mouse0", "", "", "input_id:ID_INPUT=1 input_id:ID_INPUT_MOUSE=1 usb_id:ID_BUS=usb usb_id:ID_SERIAL=Maker_Thing_AB path_id:ID_PATH=pci-2-usb-0:1:1.1"},
	{usb + "/1-1:1.1/input/input7/event7", "input", "", "MAJOR=13 MINOR=71 DEVNAME=input/event7", "", "", "input_id:ID_INPUT=1 usb_id:ID_BUS=usb usb_id:ID_SERIAL=Maker_Thing_AB path_id:ID_PATH=pci-2-usb-0:1:1.1"},
	{"/devices/platform/i8042/serio0", "serio", "atkbd", "MODALIAS=serio:ty06", "", "", ""},
	{"/devices/platform/i8042/serio0/input/input0/event0", "input", "", "MAJOR=13 MINOR=64 DEVNAME=input/event0", "", "", "input_id:ID_INPUT=1 input_id:ID_INPUT_KEYBOARD=1 path_id:ID_PATH=platform-i8042-serio-0"},
	{"/devices/platform/pcspkr", "platform", "pcspkr", "MODALIAS=platform:pcspkr", "", "", "path_id:ID_PATH=platform-pcspkr"},
	{"/devices/platform/pcspkr/input/input3/event3", "input", "", "MAJOR=13 MINOR=67 DEVNAME=input/event3", "", "", "input_id:ID_INPUT=1 path_id:ID_PATH=platform-pcspkr"},
	{pci + "/sound/card0", "sound", "", "", "", "", "path_id:ID_PATH=pci-0000:00:1f.2"},
	{pci + "/sound/card0/controlC0", "sound", "", "MAJOR=116 MINOR=2 DEVNAME=snd/controlC0", "", "", "path_id:ID_PATH=pci-0000:00:1f.2"},
	{usb + "/1-1:1.0/sound/card1/controlC1", "sound", "", "MAJOR=116 MINOR=3 DEVNAME=snd/controlC1", "", "", "usb_id:ID_BUS=usb usb_id:ID_SERIAL=Maker_Thing_AB usb_id:ID_USB_INTERFACE_NUM=00 path_id:ID_PATH=pci-2-usb-0:1:1.0"},
	{usb + "/1-1:1.0/ttyUSB0", "usb-serial", "ftdi_sio", "", "port_number=0", "", ""},
	{usb + "/1-1:1.0/ttyUSB0/tty/ttyUSB0", "tty", "", "MAJOR=188 MINOR=0 DEVNAME=ttyUSB0", "", "", "usb_id:ID_BUS=usb usb_id:ID_SERIAL=Maker_Thing_AB usb_id:ID_USB_INTERFACE_NUM=00 path_id:ID_PATH=pci-2-usb-0:1:1.0"},
	{usb + "/1-1:1.1/tty/ttyACM0", "tty", "", "MAJOR=166 MINOR=0 DEVNAME=ttyACM0", "", "", "usb_id:ID_BUS=usb usb_id:ID_SERIAL=Maker_Thing_AB usb_id:ID_USB_INTERFACE_NUM=01 path_id:ID_PATH=pci-2-usb-0:1:1.1"},
	{"/devices/pnp0/00:04/tty/ttyS0", "tty", "", "MAJOR=4 MINOR=64 DEVNAME=ttyS0", "", "", ""},
	{"/devices/virtual/tty/tty7", "tty", "", "MAJOR=4 MINOR=7 DEVNAME=tty7", "", "", ""},
	{"/devices/virtual/tty/ptmx", "tty", "", "MAJOR=5 MINOR=2 DEVNAME=ptmx DEVMODE=0666", "", "", ""},
	{"/devices/virtual/vc/vcs1", "vc", "", "MAJOR=7 MINOR=1 DEVNAME=vcs1", "", "", ""},
	{usb + "/1-1:1.0/video4linux/video0", "video4linux", "", "MAJOR=81 MINOR=0 DEVNAME=video0", "index=0;name=cam", "", "usb_id:ID_BUS=usb usb_id:ID_SERIAL=Maker_Cam path_id:ID_PATH=pci-2-usb-0:1:1.0"},
	{pci + "/drm/card0", "drm", "", "MAJOR=226 MINOR=0 DEVNAME=dri/card0 DEVTYPE=drm_minor", "", "", "path_id:ID_PATH=pci-0000:00:1f.2"},
	{pci + "/drm/renderD128", "drm", "", "MAJOR=226 MINOR=128 DEVNAME=dri/renderD128 DEVTYPE=drm_minor", "", "", "path_id:ID_PATH=pci-0000:00:1f.2"},
	{"/devices/pnp0/00:05/rtc/rtc0", "rtc", "", "MAJOR=252 MINOR=0 DEVNAME=rtc0", "hctosys=1", "", ""},
	{"/devices/virtual/mem/mem", "mem", "", "MAJOR=1 MINOR=1 DEVNAME=mem", "", "", ""},
	{"/devices/virtual/mem/null", "mem", "", "MAJOR=1 MINOR=3 DEVNAME=null DEVMODE=0666", "", "", ""},
	{"/devices/virtual/misc/kvm", "misc", "", "MAJOR=10 MINOR=232 DEVNAME=kvm", "", "", ""},
	{"/devices/virtual/misc/fuse", "misc", "", "MAJOR=10 MINOR=229 DEVNAME=fuse", "", "", ""},
	{"/devices/virtual/misc/tun", "misc", "", "MAJOR=10 MINOR=200 DEVNAME=net/tun", "", "", ""},
	{"/devices/virtual/misc/loop-control", "misc", "", "MAJOR=10 MINOR=237 DEVNAME=loop-control", "", "", ""},
	{"/devices/virtual/misc/rfkill", "misc", "", "MAJOR=10 MINOR=242 DEVNAME=rfkill", "", "", ""},
	{"/devices/virtual/misc/vhost-net", "misc", "", "MAJOR=10 MINOR=238 DEVNAME=vhost-net", "", "", ""},
	{"/devices/virtual/graphics/fb0", "graphics", "", "MAJOR=29 MINOR=0 DEVNAME=fb0", "", "", ""},
	{"/devices/pci0000:00/0000:00:06.0/virtio5/virtio-ports/vport5p1", "virtio-ports", "", "MAJOR=248 MINOR=1 DEVNAME=vport5p1", "name=org.qemu.agent", "", ""},
	{"/devices/pci0000:00/0000:00:08.0/virtio6/net/eth0", "net", "", "INTERFACE=eth0 IFINDEX=2", "name_assign_type=1", "", "net_id:ID_NET_NAME_PATH=enp0s8 net_setup_link:ID_NET_NAME=enp0s8 path_id:ID_PATH=pci-8"},
	{"/devices/parport0/parport/parport0", "parport", "", "MAJOR=99 MINOR=0 DEVNAME=parport0", "", "", ""},
	{"/module/block", "module", "", "", "parameters/events_dfl_poll_msecs=0", "", ""},
}

// TestTheEmbeddedRulesNameDevicesAsDebiansDo evaluates both sets over one machine: links, owners, groups, modes, modules
// to load, attributes written and interfaces' names must be the same.
func TestTheEmbeddedRulesNameDevicesAsDebiansDo(t *testing.T) {
	roots := hotplug.Roots{Sys: t.TempDir(), Dev: t.TempDir(), Run: t.TempDir()}
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range parityDevices {
		at := roots.Sys + d.path
		write(at+"/uevent", strings.ReplaceAll(d.uevent, " ", "\n")+"\n")
		for _, link := range [][2]string{{"subsystem", d.subsystem}, {"driver", d.driver}} {
			if link[1] != "" {
				if err := os.Symlink("../x/"+link[1], at+"/"+link[0]); err != nil {
					t.Fatal(err)
				}
			}
		}
		if d.attrs != "" {
			for _, a := range strings.Split(d.attrs, ";") {
				name, value, _ := strings.Cut(a, "=")
				write(at+"/"+name, value+"\n")
			}
		}
		if d.record != "" {
			dev, err := roots.Device(d.path)
			if err != nil {
				t.Fatal(err)
			}
			write(roots.Run+"/udev/data/"+dev.ID(), strings.ReplaceAll(d.record, " ", "\n")+"\n")
		}
	}
	debian, ours := compileSources(t, debianRules(t)), compileSources(t, []Source{Embedded()})
	for _, d := range parityDevices {
		for _, action := range []string{"add", "change"} {
			want, got := d.evaluate(t, debian, roots, action), d.evaluate(t, ours, roots, action)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s of %s (-Debian's +ours)\n%s", action, d.path, diff)
			}
		}
	}
}

func compileSources(t *testing.T, sources []Source) *Program {
	t.Helper()
	set, problems := Parse(sources)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	program, _ := Compile(set, Options{})
	return program
}

// evaluate returns the facts that count, sorted.
func (d parityDevice) evaluate(t *testing.T, program *Program, roots hotplug.Roots, action string) []string {
	t.Helper()
	find := func(what string, set func(key, value string)) error {
		found := false
		for f := range strings.FieldsSeq(d.finds) {
			who, rest, ok := strings.Cut(f, ":")
			if !ok || strings.ContainsRune(who, '=') {
				who, rest = "usb_id", f
			}
			if who == what {
				key, value, _ := strings.Cut(rest, "=")
				set(key, value)
				found = true
			}
		}
		if !found {
			return fmt.Errorf("%s finds nothing", what)
		}
		return nil
	}
	host := parityHost{Recorder: &Recorder{Names: map[string]uint32{}}, find: find}
	for i, name := range []string{"tty", "dialout", "kmem", "input", "video", "render", "audio", "lp", "disk", "cdrom", "tape", "kvm", "sgx"} {
		host.Names[name] = uint32(100 + i)
	}
	host.BuiltinFn = func(name string, c *builtin.Call) error { return find(name, c.Set) }
	properties := strings.Fields(d.uevent)
	ev := hotplug.NewEvent(action, d.path, d.subsystem, properties...)
	res, err := program.Evaluate(context.Background(), ev, roots.EventDevice(ev), host, nil)
	if err != nil {
		t.Fatal(err)
	}
	var facts []string
	for _, link := range res.Links {
		facts = append(facts, "link "+link)
	}
	for _, r := range res.Run {
		if r.Line == "uaccess" || strings.HasPrefix(r.Line, "/lib/systemd/") {
			continue // systemd's own affairs: seats, and the sysctls of an interface
		}
		facts = append(facts, "run "+r.Line)
	}
	for _, e := range host.Effects {
		facts = append(facts, e.String())
	}
	facts = append(facts, "node"+showID(" owner", res.Node.UID)+showID(" group", res.Node.GID)+showMode(res.Node.Mode),
		fmt.Sprintf("name %q priority %d watch %v", res.Name, res.Priority, res.Watch))
	slices.Sort(facts)
	return facts
}

// parityHost answers programs as the device says.
type parityHost struct {
	*Recorder
	find func(what string, set func(key, value string)) error
}

func (h parityHost) Program(_ context.Context, line string, _ []string, _ string) (string, error) {
	var out strings.Builder
	err := h.find(firstWord(line), func(key, value string) { fmt.Fprintf(&out, "%s=%s\n", key, value) })
	return out.String(), err
}
