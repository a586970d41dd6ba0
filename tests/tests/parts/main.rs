//! Parts of netpath by themselves, on the kernel that they read or that runs them.

mod kernel_way;
mod netfilter;
mod netlink;
mod programs;
