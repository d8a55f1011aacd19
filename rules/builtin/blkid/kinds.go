package blkid

import "slices"

// kinds are the formats, in the order in which libblkid looks for them: of RAID and encryption the first counts.
var kinds = [...]kind{
	{name: "linux_raid_member", usage: raid, probe: probeMD},
	{name: "ddf_raid_member", usage: raid, probe: probeDDF},
	{name: "isw_raid_member", usage: raid, min: 64 << 10, disk: true, probe: probeISW},
	{name: "lsi_mega_raid_member", usage: raid, min: 64 << 10, disk: true, magics: []magic{{text: "$XIDE$", end: 1}}},
	{name: "via_raid_member", usage: raid, min: 64 << 10, disk: true, size: 51, probe: probeVIA, magics: []magic{{text: "\x55\xaa", end: 1}}},
	{name: "silicon_medley_raid_member", usage: raid, min: 64 << 10, disk: true, size: 512, probe: probeSilicon, magics: []magic{
		{text: "\x00\x00\x00\x2f", end: 1, off: 0x60}}},
	{name: "nvidia_raid_member", usage: raid, min: 64 << 10, disk: true, size: 18, probe: probeNvidia, magics: []magic{{text: "NVIDIA", end: 2}}},
	{name: "promise_fasttrack_raid_member", usage: raid, min: 256 << 10, disk: true, magics: promiseMagics},
	{name: "hpt45x_raid_member", usage: raid, min: 64 << 10, disk: true, magics: []magic{{text: "\xf3\x16\x78\x5a", end: 11}, {text: "\xfd\x16\x78\x5a", end: 11}}},
	{name: "hpt37x_raid_member", usage: raid, disk: true, magics: []magic{
		{text: "\xf0\x16\x78\x5a", kb: 4, off: 544}, {text: "\xfd\x16\x78\x5a", kb: 4, off: 544}}},
	{name: "adaptec_raid_member", usage: raid, min: 64 << 10, disk: true, size: 512, probe: probeAdaptec, magics: []magic{{text: "\x37\xfc\x4d\x1e", end: 1}}},
	{name: "jmicron_raid_member", usage: raid, min: 64 << 10, disk: true, size: 6, probe: probeJMicron, magics: []magic{{text: "JM", end: 1}}},

	{name: "bcache", usage: other, min: 8192, size: 56, probe: probeBcache, magics: []magic{{text: bcacheMagic, kb: 4, off: 0x18}}},
	{name: "ceph_bluestore", usage: other, magics: []magic{{text: "bluestore block device"}}},
	{name: "drbd", usage: raid, min: 64 << 10, probe: probeDRBD},
	{name: "drbdmanage_control_volume", usage: other, min: 64 << 10, size: 44, probe: probeDRBDManage, magics: []magic{{text: "$DRBDmgr=q"}}},
	{name: "drbdproxy_datalog", min: 16 << 10, size: 40, probe: probeDRBDProxy, magics: []magic{{text: "DRBDdlh*"}}},
	{name: "LVM2_member", usage: raid, probe: probeLVM2, magics: []magic{
		{text: "LVM2 001", off: 0x218}, {text: "LVM2 001", off: 0x18}, {text: "LVM2 001", kb: 1, off: 0x18}, {text: "LVM2 001", kb: 1, off: 0x218}}},
	{name: "LVM1_member", usage: raid, size: 172, probe: probeLVM1, magics: []magic{{text: "HM"}}},
	{name: "DM_snapshot_cow", usage: other, magics: []magic{{text: "SnAp"}}},
	{name: "DM_verity_hash", usage: crypto, size: 512, probe: probeVerity, magics: []magic{{text: "verity\x00\x00"}}},
	{name: "DM_integrity", usage: crypto, size: 33, probe: probeIntegrity, magics: []magic{{text: "integrt\x00"}}},
	{name: "crypto_LUKS", usage: crypto, probe: probeLUKS},
	{name: "VMFS_volume_member", usage: raid, size: 146, probe: probeVMFSVolume, magics: []magic{{text: "\x0d\xd0\x01\xc0", kb: 1024}}},
	{name: "ubi", usage: raid, size: 64, probe: probeUBI, magics: []magic{{text: "UBI#"}}},
	{name: "vdo", usage: other, size: 56, probe: probeVDO, magics: []magic{{text: "dmvdo001"}}},
	{name: "stratis", usage: raid, min: 8192, probe: probeStratis, magics: []magic{{text: stratisMagic, off: 512 + 4}, {text: stratisMagic, off: 9*512 + 4}}},
	{name: "BitLocker", usage: crypto, probe: probeBitLocker, magics: []magic{{text: bdeVista}, {text: bdeWin7}, {text: bdeToGo}}},

	{name: "vfat", probe: probeFAT, magics: fatMagics},
	{name: "swsuspend", usage: other, min: 40960, probe: probeSuspend, magics: suspendMagics},
	{name: "swap", usage: other, min: 40960, probe: probeSwap, magics: swapMagics},
	{name: "xfs", size: 208, probe: probeXFS, magics: []magic{{text: "XFSB"}}},
	{name: "xfs_external_log", usage: other, min: 10 << 20, probe: probeXFSLog},
	{name: "exfs", size: 208, probe: probeXFS, magics: []magic{{text: "EXFS"}}},
	{name: "ext4dev", size: 512, probe: probeExt4dev, magics: extMagics},
	{name: "ext4", size: 512, probe: probeExt4, magics: extMagics},
	{name: "ext3", size: 512, probe: probeExt3, magics: extMagics},
	{name: "ext2", size: 512, probe: probeExt2, magics: extMagics},
	{name: "jbd", usage: other, size: 512, probe: probeJBD, magics: extMagics},
	{name: "reiserfs", min: 128 << 10, size: 116, probe: probeReiser, magics: []magic{
		{text: "ReIsErFs", kb: 8, off: 0x34}, {text: "ReIsEr2Fs", kb: 64, off: 0x34}, {text: "ReIsEr3Fs", kb: 64, off: 0x34},
		{text: "ReIsErFs", kb: 64, off: 0x34}, {text: "ReIsErFs", kb: 8, off: 20}}},
	{name: "reiser4", min: 128 << 10, size: 60, probe: probeReiser4, magics: []magic{{text: "ReIsEr4", kb: 64}}},
	{name: "jfs", min: 16 << 20, size: 184, probe: probeJFS, magics: []magic{{text: "JFS1", kb: 32}}},
	{name: "udf", tolerant: true, probe: probeUDF, magics: udfMagics},
	{name: "iso9660", tolerant: true, probe: probeISO, magics: []magic{
		{text: "CD001", kb: 32, off: 1, session: true}, {text: "CDROM", kb: 32, off: 9, session: true}}},
	{name: "zfs_member", min: 64 << 20, probe: probeZFS},
	{name: "hfsplus", size: 130, probe: probeHFSPlus, magics: []magic{{text: "BD", kb: 1}, {text: "H+", kb: 1}, {text: "HX", kb: 1}}},
	{name: "hfs", tolerant: true, size: 130, probe: probeHFS, magics: []magic{{text: "BD", kb: 1}}},
	{name: "ufs", probe: probeUFS},
	{name: "hpfs", size: 9, probe: probeHPFS, magics: []magic{{text: "\x49\xe8\x95\xf9", kb: 8}}},
	{name: "sysv", size: 1024, probe: probeSysV, magics: sysvMagics},
	{name: "xenix", size: 1024, probe: probeXenix, magics: []magic{{text: "\x2b\x55\x44", kb: 1, off: 1024}, {text: "\x44\x55\x2b", kb: 1, off: 1024}}},
	{name: "ntfs", size: 84, probe: probeNTFS, magics: ntfsMagics},
	{name: "ReFS", magics: []magic{{text: "\x00\x00\x00ReFS\x00"}}},
	{name: "cramfs", size: 64, probe: probeCramfs, magics: []magic{{text: "\x45\x3d\xcd\x28"}, {text: "\x28\xcd\x3d\x45"}}},
	{name: "romfs", size: 32, probe: probeRomfs, magics: []magic{{text: "-rom1fs-"}}},
	{name: "minix", size: 64, probe: probeMinix, magics: minixMagics},
	{name: "gfs", min: 32 << 20, size: 272, probe: probeGFS, magics: []magic{{text: "\x01\x16\x19\x70", kb: 64}}},
	{name: "gfs2", min: 32 << 20, size: 272, probe: probeGFS2, magics: []magic{{text: "\x01\x16\x19\x70", kb: 64}}},
	{name: "ocfs", min: 14000 << 10, size: 1024, probe: probeOCFS, magics: []magic{{text: "OracleCFS", kb: 8}}},
	{name: "ocfs2", min: 14000 << 10, size: 352, probe: probeOCFS2, magics: []magic{
		{text: "OCFSV2", kb: 1}, {text: "OCFSV2", kb: 2}, {text: "OCFSV2", kb: 4}, {text: "OCFSV2", kb: 8}}},
	{name: "oracleasm", size: 64, probe: probeOracleASM, magics: []magic{{text: "ORCLDISK", off: 32}}},
	{name: "vxfs", size: 44, probe: probeVxFS, magics: []magic{{text: "\xf5\xfc\x01\xa5", kb: 1}, {text: "\xa5\x01\xfc\xf5", kb: 8}}},
	{name: "squashfs", size: 32, probe: probeSquashfs, magics: []magic{{text: "hsqs"}}},
	{name: "squashfs3", size: 32, probe: probeSquashfs3, magics: []magic{{text: "sqsh"}, {text: "hsqs"}}},
	{name: "nss", size: 636, probe: probeNetware, magics: []magic{{text: "SPB5", kb: 4}}},
	{name: "btrfs", min: 1 << 20, size: 0x12b + 256, probe: probeBtrfs, magics: []magic{{text: "_BHRfS_M", kb: 64, off: 0x40}}},
	{name: "ubifs", size: 4096, probe: probeUBIFS, magics: []magic{{text: "\x31\x18\x10\x06"}}},
	{name: "bfs", magics: []magic{{text: "\xce\xfa\xad\x1b"}}},
	{name: "VMFS", size: 157, probe: probeVMFS, magics: []magic{{text: "\x5e\xf1\xab\x2f", kb: 2048}}},
	{name: "befs", min: 1440 << 10, size: 1024, probe: probeBeFS, magics: []magic{
		{text: "BFS1", off: 32}, {text: "1SFB", off: 32}, {text: "BFS1", off: 512 + 32}, {text: "1SFB", off: 512 + 32}}},
	{name: "nilfs2", min: 1 << 20, probe: probeNilfs},
	{name: "exfat", size: 120, probe: probeExFAT, magics: []magic{{text: "EXFAT   ", off: 3}}},
	{name: "f2fs", size: 0x7c + 1024, probe: probeF2FS, magics: []magic{{text: "\x10\x20\xf5\xf2", kb: 1}}},
	{name: "mpool", size: 66, probe: probeMpool, magics: []magic{{text: "mpoolDev"}}},
	{name: "apfs", size: 88, probe: probeAPFS, magics: []magic{{text: "NXSB", off: 32}}},
	{name: "zonefs", size: 68, probe: probeZonefs, magics: []magic{{text: "SFOZ"}}},
	{name: "erofs", size: 128, probe: probeErofs, magics: []magic{{text: "\xe2\xe1\xf5\xe0", kb: 1}}},
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
