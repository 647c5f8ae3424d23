// Command holdfast keeps pods from hanging where sidecar injectors meet.
package main

func main() {}
