# Red Hat Enterprise Linux 9 and 10, CentOS Stream, Rocky Linux, AlmaLinux, Oracle Linux: 9 has later Pythons beside
# its 3.9, 10 has 3.12.
SYSTEMS='rhel centos rocky almalinux ol'
LINKS=/usr/bin # sudo's secure_path has no /usr/local/bin
install_python() { with_dnf python3.12 python3.11 python3; }
