// Empty is a program that does nothing: what every Go program costs.
package main

func main() {}
