// Command kudev is a hotplug device manager for Linux that is about kernel modules first.
package main

func main() {}
