// Package coldplug replays the devices that were there before anyone listened: the walk of /sys, its order, the
// trigger, and the witnesses of work that the kernel has not finished.
//
// [Walk] lists the devices, parents before children and the way to a disk before the rest. [Filter] keeps some of
// them, as udevadm trigger's options do. [Trigger] asks the kernel to announce each of them again. [Watch] tells what
// the kernel is still doing in the background after the driver's load has returned: a coldplug is over when the queue
// is empty and no witness is left.
package coldplug
