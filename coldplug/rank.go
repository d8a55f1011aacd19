package coldplug

import "strings"

// Rank is a device's place in the coldplug. The way to a root disk comes first, and what a boot can do without for a
// second comes last: a root disk must not wait for a sound card.
type Rank uint8

const (
	RankModule  Rank = iota // modules that are live already: their rules set sysctls
	RankStorage             // disks, and what a disk can be behind: their controllers, USB hosts, SD hosts
	RankTPM                 // a disk's key may be in it
	RankNet                 // network cards
	RankTTY                 // consoles and serial lines
	RankInput               // keyboards and what else people use
	RankOther               // everything that nothing else is said of
	RankLate                // sound and graphics
	RankLast                // md and dm, whose rules look at the disks below; sound control nodes, which tell that a card is complete
)

// RankOf tells the rank of one device from its subsystem, its name in sysfs and its modalias ("" where it has none).
// A driver that is not loaded has no block device yet, so storage is told by what the modalias says it will become.
func RankOf(subsystem, name, modalias string) Rank {
	switch subsystem {
	case "module":
		return RankModule
	case "block":
		if strings.HasPrefix(name, "dm-") || strings.HasPrefix(name, "md") {
			return RankLast
		}
		return RankStorage
	case "nvme", "nvme-subsystem", "nvme-generic", "scsi", "scsi_host", "scsi_disk", "scsi_device", "scsi_generic",
		"ata_port", "ata_link", "ata_device", "mmc", "mmc_host", "bcache", "nd", "memstick", "iscsi_session",
		"fc_host", "sas_phy", "mtd", "ubi", "aoe", "ide", "ccw", "raid_transport", "spi_host", "spi_transport":
		return RankStorage
	case "tpm", "tpmrm":
		return RankTPM
	case "net":
		return RankNet
	case "tty":
		return RankTTY
	case "input", "hid", "hidraw", "serio":
		return RankInput
	case "sound":
		if strings.HasPrefix(name, "controlC") {
			return RankLast
		}
		return RankLate
	case "drm", "graphics", "backlight", "hdaudio", "ac97", "soundwire", "video4linux", "media":
		return RankLate
	}
	return rankOfModalias(modalias)
}

// Late tells whether a device with this modalias is sound or graphics, which can wait until the disks are there.
func Late(modalias string) bool { return rankOfModalias(modalias) == RankLate }

func rankOfModalias(alias string) Rank {
	bus, rest, ok := strings.Cut(alias, ":")
	if !ok {
		return RankOther
	}
	switch bus {
	case "pci":
		return rankOfPCI(rest)
	case "usb":
		return rankOfUSB(rest)
	case "virtio":
		// Kernel: include/uapi/linux/virtio_ids.h
		switch strings.ToLower(before(rest, 'v')) {
		case "d00000002", "d00000008", "d00000009", "d0000001a", "d0000001b": // block, SCSI, 9P, fs, pmem
			return RankStorage
		case "d00000001": // net
			return RankNet
		case "d00000012": // input
			return RankInput
		case "d00000010", "d00000019": // GPU, sound
			return RankLate
		}
	case "vmbus":
		switch {
		case strings.HasPrefix(rest, "d96361baa104294d"), strings.HasPrefix(rest, "32264132cb86a2449b5c50d1417354f5"): // SCSI, IDE
			return RankStorage
		case strings.HasPrefix(rest, "635161f83edfc546"): // network
			return RankNet
		}
	case "xen":
		switch rest {
		case "vbd", "vscsi":
			return RankStorage
		case "vif":
			return RankNet
		case "vkbd":
			return RankInput
		}
	case "mmc", "sdio", "scsi", "nvme":
		return RankStorage
	case "hdaudio", "ac97", "sdw":
		return RankLate
	}
	return RankOther
}

// rankOfPCI reads the class: "v00008086d…sv…sd…bcBBscSSiII".
// Kernel: include/linux/pci_ids.h, drivers/pci/pci-sysfs.c (modalias_show).
func rankOfPCI(rest string) Rank {
	i := strings.Index(rest, "bc")
	if i < 0 || len(rest) < i+8 || rest[i+4:i+6] != "sc" {
		return RankOther
	}
	base, sub := strings.ToLower(rest[i+2:i+4]), strings.ToLower(rest[i+6:i+8])
	switch base {
	case "01":
		return RankStorage
	case "02", "0d":
		return RankNet
	case "03", "04":
		return RankLate
	case "07":
		return RankTTY
	case "08":
		if sub == "05" { // SD host
			return RankStorage
		}
	case "09":
		return RankInput
	case "0c":
		switch sub {
		case "00", "03", "04": // FireWire, USB, Fibre Channel: a disk may be behind each
			return RankStorage
		}
	}
	return RankOther
}

// rankOfUSB reads the interface's class: "v…p…d…dcDDdscDDdpDDicIIisc…ip…in…".
func rankOfUSB(rest string) Rank {
	i := strings.Index(rest, "ic")
	if i < 0 || len(rest) < i+4 {
		return RankOther
	}
	switch strings.ToLower(rest[i+2 : i+4]) {
	case "08", "09": // mass storage, hub
		return RankStorage
	case "02":
		return RankTTY
	case "03":
		return RankInput
	case "01", "0e", "10": // audio, video, audio and video
		return RankLate
	}
	return RankOther
}

func before(s string, c byte) string {
	if i := strings.IndexByte(s, c); i >= 0 {
		return s[:i]
	}
	return s
}
