package blkid

import "slices"

// kinds are the formats, in the order in which libblkid looks for them: of RAID and encryption the first counts.
var kinds = [...]kind{
	{name: "linux_raid_member", usage: raid, probe: probeMD},
	{name: "ddf_raid_member", usage: raid, probe: probeDDF},
	{name: "isw_raid_member", usage: raid, probe: probeISW},
	{name: "bcache", usage: other, min: 8192, probe: probeBcache, magics: []magic{{text: bcacheMagic, kb: 4, off: 0x18}}},
	{name: "LVM2_member", usage: raid, probe: probeLVM2, magics: []magic{
		{text: "LVM2 001", off: 0x218}, {text: "LVM2 001", off: 0x18}, {text: "LVM2 001", kb: 1, off: 0x18}, {text: "LVM2 001", kb: 1, off: 0x218}}},
	{name: "LVM1_member", usage: raid, probe: probeLVM1, magics: []magic{{text: "HM"}}},
	{name: "DM_snapshot_cow", usage: other, magics: []magic{{text: "SnAp"}}},
	{name: "DM_verity_hash", usage: crypto, probe: probeVerity, magics: []magic{{text: "verity\x00\x00"}}},
	{name: "DM_integrity", usage: crypto, probe: probeIntegrity, magics: []magic{{text: "integrt\x00"}}},
	{name: "crypto_LUKS", usage: crypto, probe: probeLUKS},
	{name: "VMFS_volume_member", usage: raid, probe: probeVMFSVolume, magics: []magic{{text: "\x0d\xd0\x01\xc0", kb: 1024}}},
	{name: "BitLocker", usage: crypto, probe: probeBitLocker, magics: []magic{{text: bdeVista}, {text: bdeWin7}, {text: bdeToGo}}},

	{name: "vfat", probe: probeFAT, magics: fatMagics},
	{name: "swsuspend", usage: other, min: 40960, probe: probeSuspend, magics: suspendMagics()},
	{name: "swap", usage: other, min: 40960, probe: probeSwap, magics: swapMagics()},
	{name: "xfs", probe: probeXFS, magics: []magic{{text: "XFSB"}}},
	{name: "xfs_external_log", usage: other, min: 10 << 20, probe: probeXFSLog},
	{name: "ext4dev", probe: probeExt4dev, magics: extMagics},
	{name: "ext4", probe: probeExt4, magics: extMagics},
	{name: "ext3", probe: probeExt3, magics: extMagics},
	{name: "ext2", probe: probeExt2, magics: extMagics},
	{name: "jbd", usage: other, probe: probeJBD, magics: extMagics},
	{name: "reiserfs", min: 128 << 10, probe: probeReiser, magics: []magic{
		{text: "ReIsErFs", kb: 8, off: 0x34}, {text: "ReIsEr2Fs", kb: 64, off: 0x34}, {text: "ReIsEr3Fs", kb: 64, off: 0x34},
		{text: "ReIsErFs", kb: 64, off: 0x34}, {text: "ReIsErFs", kb: 8, off: 20}}},
	{name: "reiser4", min: 128 << 10, probe: probeReiser4, magics: []magic{{text: "ReIsEr4", kb: 64}}},
	{name: "jfs", min: 16 << 20, probe: probeJFS, magics: []magic{{text: "JFS1", kb: 32}}},
	{name: "udf", tolerant: true, probe: probeUDF, magics: udfMagics()},
	{name: "iso9660", tolerant: true, probe: probeISO, magics: []magic{
		{text: "CD001", kb: 32, off: 1, session: true}, {text: "CDROM", kb: 32, off: 9, session: true}}},
	{name: "zfs_member", min: 64 << 20, probe: probeZFS},
	{name: "hfsplus", probe: probeHFSPlus, magics: []magic{{text: "BD", kb: 1}, {text: "H+", kb: 1}, {text: "HX", kb: 1}}},
	{name: "hfs", tolerant: true, probe: probeHFS, magics: []magic{{text: "BD", kb: 1}}},
	{name: "ufs", probe: probeUFS},
	{name: "ntfs", probe: probeNTFS, magics: ntfsMagics},
	{name: "ReFS", magics: []magic{{text: "\x00\x00\x00ReFS\x00"}}},
	{name: "cramfs", probe: probeCramfs, magics: []magic{{text: "\x45\x3d\xcd\x28"}, {text: "\x28\xcd\x3d\x45"}}},
	{name: "romfs", probe: probeRomfs, magics: []magic{{text: "-rom1fs-"}}},
	{name: "squashfs", probe: probeSquashfs, magics: []magic{{text: "hsqs"}}},
	{name: "squashfs3", probe: probeSquashfs3, magics: []magic{{text: "sqsh"}, {text: "hsqs"}}},
	{name: "btrfs", min: 1 << 20, probe: probeBtrfs, magics: []magic{{text: "_BHRfS_M", kb: 64, off: 0x40}}},
	{name: "VMFS", probe: probeVMFS, magics: []magic{{text: "\x5e\xf1\xab\x2f", kb: 2048}}},
	{name: "nilfs2", min: 1 << 20, probe: probeNilfs},
	{name: "exfat", probe: probeExFAT, magics: []magic{{text: "EXFAT   ", off: 3}}},
	{name: "f2fs", probe: probeF2FS, magics: []magic{{text: "\x10\x20\xf5\xf2", kb: 1}}},
	{name: "erofs", probe: probeErofs, magics: []magic{{text: "\xe2\xe1\xf5\xe0", kb: 1}}},
}

// Types lists the formats that Probe knows.
func Types() []string {
	var out []string
	for _, k := range kinds {
		out = append(out, k.name)
	}
	slices.Sort(out)
	return out
}
