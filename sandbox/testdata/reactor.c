// A reactor: functions to call, and no _start.
__attribute__((export_name("turn"))) int turn(int n) { return n + 1; }
