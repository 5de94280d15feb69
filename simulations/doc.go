// Package simulations runs scenarios in both storeys: complete nodes in virtual time (package world), and a model of as many as a
// million (package model); it holds the scenarios that come with the binary.
package simulations
