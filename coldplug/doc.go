// Package coldplug replays the devices that were there before anyone listened: the walk of /sys, its order, the
// trigger, and the witnesses of work that the kernel has not finished.
package coldplug
