package vm

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Machine is the hardware that a guest finds.
type Machine struct {
	Memory  int // MiB; 0 for 2048
	CPUs    int // 0 for 2
	Devices []Device
	Drives  []Drive
	Audio   bool // provide the audio backend that sound devices name: audiodev=snd
	NoVGA   bool // leave out the VGA that QEMU adds by itself
}

// Device is one of QEMU's devices. See qemu-system-x86_64 -device help.
type Device struct {
	Driver string
	ID     string // "" for a device that nobody has to name
	Props  string // "key=value,key=value"
}

// Drive is a disk's content: empty, and of this size. A device names it with drive=ID.
type Drive struct {
	ID   string
	Size int64  // bytes; 0 for 16 MiB
	File string // a raw image of the host instead, to which the guest's writes do not go
}

func (d Device) argument() string {
	arg := d.Driver
	if d.ID != "" {
		arg += ",id=" + d.ID
	}
	if d.Props != "" {
		arg += "," + d.Props
	}
	return arg
}

// properties returns the Props as QMP takes them. Numbers and switches have their own types there.
func (d Device) properties() map[string]any {
	props := map[string]any{}
	for _, p := range strings.Split(d.Props, ",") {
		key, value, ok := strings.Cut(p, "=")
		if !ok {
			continue
		}
		switch n, err := strconv.Atoi(value); {
		case value == "on" || value == "off":
			props[key] = value == "on"
		case err == nil && !slices.Contains([]string{"serial", "port"}, key):
			props[key] = n
		default:
			props[key] = value
		}
	}
	return props
}

func (m Machine) arguments() []string {
	memory, cpus := m.Memory, m.CPUs
	if memory == 0 {
		memory = 2048
	}
	if cpus == 0 {
		cpus = 2
	}
	args := []string{
		"-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", strconv.Itoa(cpus), "-m", fmt.Sprintf("%dM", memory),
		"-display", "none", "-monitor", "none", "-parallel", "none", "-nic", "none", "-no-reboot", "-vga", "none",
	}
	if !m.NoVGA {
		args = append(args, "-device", "VGA")
	}
	if m.Audio {
		args = append(args, "-audiodev", "none,id=snd")
	}
	for _, d := range m.Drives {
		if d.File != "" {
			args = append(args, "-drive", fmt.Sprintf("if=none,id=%s,format=raw,file=%s,snapshot=on", d.ID, d.File))
			continue
		}
		size := d.Size
		if size == 0 {
			size = 16 << 20
		}
		args = append(args, "-drive", fmt.Sprintf("if=none,id=%s,driver=null-co,size=%d,read-zeroes=on", d.ID, size))
	}
	for _, d := range m.Devices {
		args = append(args, "-device", d.argument())
	}
	return args
}

// Bare is a machine with one disk and next to nothing else, and no USB.
func Bare() Machine {
	return Machine{
		NoVGA:   true,
		Devices: []Device{{Driver: "virtio-blk-pci", ID: "disk", Props: "drive=vda,serial=BARE-DISK"}},
		Drives:  []Drive{{ID: "vda"}},
	}
}

// Demo is the machine with one of nearly everything: more than forty devices, and empty slots to plug more into.
// The drives "spare", "stick" and the network backend "spare" belong to nobody yet. PCI slots hp0 and hp1 are free, and so are ports of xhci1.
func Demo() Machine {
	m := Machine{Audio: true}
	drive := func(id string) string {
		m.Drives = append(m.Drives, Drive{ID: id})
		return "drive=" + id
	}
	add := func(driver, id, props string) {
		m.Devices = append(m.Devices, Device{Driver: driver, ID: id, Props: props})
	}

	// Buses and bridges. What hangs on them names them, so they come first.
	add("pcie-root-port", "hp0", "chassis=1,slot=1")
	add("pcie-root-port", "hp1", "chassis=2,slot=2")
	add("pcie-root-port", "rp0", "chassis=3,slot=3")
	add("pci-bridge", "bridge0", "chassis_nr=4,shpc=off")

	// Storage: virtio, NVMe, AHCI, and four SCSI host adapters.
	add("virtio-blk-pci", "", drive("vda")+",serial=VIRTIO-DISK")
	add("nvme", "", drive("nvme0")+",serial=NVME-DISK,bus=rp0")
	add("ide-hd", "", drive("sata0")+",serial=SATA-DISK,bus=ide.0")
	add("ide-cd", "", "bus=ide.1")
	add("virtio-scsi-pci", "vscsi", "")
	add("scsi-hd", "", drive("scsi0")+",serial=SCSI-DISK,bus=vscsi.0")
	add("scsi-cd", "", "bus=vscsi.0")
	add("megasas", "sas", "bus=bridge0,addr=1")
	add("scsi-hd", "", drive("sas0")+",serial=SAS-DISK,bus=sas.0")
	add("lsi53c895a", "lsi", "bus=bridge0,addr=2")
	add("scsi-hd", "", drive("lsi0")+",serial=LSI-DISK,bus=lsi.0")
	add("pvscsi", "pv", "")
	add("scsi-hd", "", drive("pv0")+",serial=PV-DISK,bus=pv.0")
	add("sdhci-pci", "sdhci", "")
	add("sd-card", "", drive("card")+",bus=sd-bus")

	// Network.
	add("virtio-net-pci", "", "mac=52:54:00:12:34:01")
	add("e1000e", "", "mac=52:54:00:12:34:02")
	add("rtl8139", "", "mac=52:54:00:12:34:03,bus=bridge0,addr=3")
	add("vmxnet3", "", "mac=52:54:00:12:34:04")

	// USB: one controller with input and a disk, one with a hub that carries the rest, and one of the older kind.
	add("qemu-xhci", "xhci0", "")
	add("usb-kbd", "", "bus=xhci0.0,port=1")
	add("usb-mouse", "", "bus=xhci0.0,port=2")
	add("usb-tablet", "", "bus=xhci0.0,port=3")
	add("usb-storage", "", drive("usb0")+",serial=USB-DISK,bus=xhci0.0,port=4")
	add("qemu-xhci", "xhci1", "")
	add("usb-hub", "hub", "bus=xhci1.0,port=1")
	add("usb-audio", "", "audiodev=snd,bus=xhci1.0,port=1.1")
	add("usb-wacom-tablet", "", "bus=xhci1.0,port=1.2")
	add("usb-serial", "", "chardev=usbserial,always-plugged=on,bus=xhci1.0,port=1.3")
	add("usb-storage", "", drive("usb1")+",serial=HUB-DISK,bus=xhci1.0,port=1.4")
	add("usb-ehci", "ehci", "bus=bridge0,addr=4")
	add("usb-storage", "", drive("usb2")+",serial=EHCI-DISK,bus=ehci.0")

	// Sound, graphics, input.
	add("intel-hda", "hda", "")
	add("hda-duplex", "", "audiodev=snd,bus=hda.0")
	add("AC97", "", "audiodev=snd,bus=bridge0,addr=5")
	add("ES1370", "", "audiodev=snd,bus=bridge0,addr=6")
	add("virtio-gpu-pci", "", "")
	add("virtio-keyboard-pci", "", "")
	add("virtio-mouse-pci", "", "")

	// The rest: a serial port on PCI and one on virtio, random numbers, a watchdog, and two curiosities.
	add("virtio-serial-pci", "vser", "")
	add("virtserialport", "", "bus=vser.0,name=org.kudev.port")
	add("virtio-rng-pci", "", "")
	add("virtio-balloon-pci", "", "")
	add("i6300esb", "", "")
	add("pvpanic-pci", "", "")
	add("edu", "", "")

	m.Drives = append(m.Drives, Drive{ID: "spare"}, Drive{ID: "stick"})
	return m
}
