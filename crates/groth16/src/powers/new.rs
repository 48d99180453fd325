//! Makes a `.ptau` file: powers of one random tau, which this process forgets, with their Lagrange polynomials.
//!
//! Since tau is known here, each point is a multiple of a generator, and the Lagrange polynomials are evaluated before they
//! become points. snarkjs computes them from the points, which takes a thousand times as long.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    os::unix::fs::FileExt as _,
    sync::atomic::AtomicBool,
};

use ark_bn254::{Fq, Fr, G1Affine, G1Projective, G2Affine, G2Projective};
use ark_ec::{
    AffineRepr as _, PrimeGroup as _,
    scalar_mul::{BatchMulPreprocessing, ScalarMul},
};
use ark_ff::{Field as _, One as _};
use rayon::{
    iter::{IndexedParallelIterator as _, ParallelIterator as _},
    slice::ParallelSliceMut as _,
};
use zeroize::Zeroizing;

use super::{
    FORMAT, MAX_NEW_POWER, PowersError,
    contribution::{Contribution, PublicKey},
    file::{
        ALPHA_G1, BETA_G1, BETA_G2, CONTRIBUTIONS, LAGRANGE_ALPHA_G1, LAGRANGE_BETA_G1, LAGRANGE_TAU_G1,
        LAGRANGE_TAU_G2, TAU_G1, TAU_G2, lengths,
    },
};
use crate::{
    blake2b::{Blake2b, DIGEST_BYTES},
    curve::PointBytes,
    field::RandomnessError,
    lagrange::{Steps, TASK_VALUES, batch_mul, lagrange_values, random_nonzero, random_outside_domain},
    sections::write_field,
    threads::Threads,
    transcript::TranscriptPoint,
};

/// Points that are computed and written at once.
const CHUNK: usize = 1 << 14;
/// The sections of a file.
const SECTIONS: u32 = 11;

/// Writes a new file for circuits of up to `2^power` constraints and public signals, with one contribution of this name.
/// `file` is empty, and open for reading and writing.
///
/// Takes some half a millisecond of a core for each constraint. [`memory_of_new`](super::memory_of_new) is the memory.
pub fn write_new(
    file: &File,
    power: u32,
    name: &str,
    threads: &Threads,
    is_cancelled: &AtomicBool,
) -> Result<(), PowersError> {
    if !(1..=MAX_NEW_POWER).contains(&power) {
        return Err(PowersError::Power { power, max: MAX_NEW_POWER });
    }
    threads.run(|| {
        let secrets = Secrets::draw(power)?;
        NewFile::new(file, power, Steps(is_cancelled)).write(&secrets, name)
    })?
}

struct Secrets {
    tau: Zeroizing<Fr>,
    alpha: Zeroizing<Fr>,
    beta: Zeroizing<Fr>,
}

impl Secrets {
    fn draw(power: u32) -> Result<Self, RandomnessError> {
        // The largest domain has twice as many values.
        let tau = random_outside_domain(2 << power)?;
        Ok(Self { tau, alpha: random_nonzero()?, beta: random_nonzero()? })
    }
}

struct NewFile<'a> {
    file: &'a File,
    out: BufWriter<&'a File>,
    power: u32,
    g1: BatchMulPreprocessing<G1Projective>,
    g2: BatchMulPreprocessing<G2Projective>,
    /// The response of the contributor: the challenge and the short forms of all points.
    response: Blake2b,
    steps: Steps<'a>,
}

impl<'a> NewFile<'a> {
    fn new(file: &'a File, power: u32, steps: Steps<'a>) -> Self {
        let size = 1 << power;
        Self {
            file,
            out: BufWriter::with_capacity(1 << 20, file),
            power,
            g1: BatchMulPreprocessing::new(G1Projective::generator(), 12 * size),
            g2: BatchMulPreprocessing::new(G2Projective::generator(), 3 * size),
            response: Blake2b::new(),
            steps,
        }
    }

    fn write(mut self, secrets: &Secrets, name: &str) -> Result<(), PowersError> {
        let size = 1_usize << self.power;
        let challenge = self.first_challenge()?;
        self.response.update(&challenge);
        self.write_header()?;

        let Secrets { tau, alpha, beta } = secrets;
        let one = Fr::one();
        let second = |points: &[G1Affine]| points.get(1).copied();
        let tau_g1 = self.powers_g1(TAU_G1, &one, tau, 2 * size - 1)?;
        let tau_g2 = self.powers_g2(TAU_G2, &one, tau, size)?;
        let alpha_g1 = self.powers_g1(ALPHA_G1, alpha, tau, size)?;
        let beta_g1 = self.powers_g1(BETA_G1, beta, tau, size)?;
        let beta_g2 = self.powers_g2(BETA_G2, beta, tau, 1)?;
        let missing = || PowersError::Cancelled;
        let contribution = Contribution {
            tau_g1: second(&tau_g1).ok_or_else(missing)?,
            tau_g2: tau_g2.get(1).copied().ok_or_else(missing)?,
            alpha_g1: alpha_g1.first().copied().ok_or_else(missing)?,
            beta_g1: beta_g1.first().copied().ok_or_else(missing)?,
            beta_g2: beta_g2.first().copied().ok_or_else(missing)?,
        };
        let key = PublicKey::new([tau, alpha, beta], &challenge)?;
        let mut response = self.response.clone();
        response.update(&key.to_transcript());
        let next_challenge = self.next_challenge(&response.finish())?;
        let mut record = 1_u32.to_le_bytes().to_vec();
        contribution.write(&mut record, &key, &self.response, &next_challenge, name);
        self.section(CONTRIBUTIONS, record.len() as u64)?;
        self.out.write_all(&record)?;

        self.lagrange_g1(LAGRANGE_TAU_G1, &one, tau, self.power + 1)?;
        self.lagrange_g2(LAGRANGE_TAU_G2, tau)?;
        self.lagrange_g1(LAGRANGE_ALPHA_G1, alpha, tau, self.power)?;
        self.lagrange_g1(LAGRANGE_BETA_G1, beta, tau, self.power)?;
        self.out.flush()?;
        Ok(self.steps.next()?)
    }

    fn write_header(&mut self) -> Result<(), PowersError> {
        let mut bytes = FORMAT.name.as_bytes().to_vec();
        bytes.extend(FORMAT.version.to_le_bytes());
        bytes.extend(SECTIONS.to_le_bytes());
        self.out.write_all(&bytes)?;
        let mut header = Vec::new();
        write_field::<Fq>(&mut header);
        header.extend(self.power.to_le_bytes());
        header.extend(self.power.to_le_bytes());
        self.section(1, header.len() as u64)?;
        Ok(self.out.write_all(&header)?)
    }

    fn section(&mut self, section: u32, bytes: u64) -> io::Result<()> {
        self.out.write_all(&section.to_le_bytes())?;
        self.out.write_all(&bytes.to_le_bytes())
    }

    fn point_section(&mut self, section: u32) -> io::Result<()> {
        let bytes = lengths(self.power).into_iter().find(|(number, _)| *number == section);
        self.section(section, bytes.map_or(0, |(_, bytes)| bytes))
    }

    /// What a first contributor answers to: the digest of a file in which every secret number is 1.
    fn first_challenge(&self) -> Result<[u8; DIGEST_BYTES], PowersError> {
        let size = 1_usize << self.power;
        let (mut g1, mut g2) = (Vec::new(), Vec::new());
        G1Affine::generator().append(&mut g1);
        G2Affine::generator().append(&mut g2);
        let mut hasher = Blake2b::new();
        hasher.update(&Blake2b::digest(&[]));
        for (point, count) in [(&g1, 2 * size - 1), (&g2, size), (&g1, size), (&g1, size), (&g2, 1)] {
            let chunk = point.repeat(count.min(CHUNK));
            for _ in 0..count / CHUNK {
                self.steps.next()?;
                hasher.update(&chunk);
            }
            hasher.update(&chunk[..point.len() * (count % CHUNK)]);
        }
        Ok(hasher.finish())
    }

    /// What a next contributor would answer to: the digest of the response and of all points, which are read from the file.
    fn next_challenge(&mut self, response: &[u8; DIGEST_BYTES]) -> Result<[u8; DIGEST_BYTES], PowersError> {
        self.out.flush()?;
        let mut hasher = Blake2b::new();
        hasher.update(response);
        // Magic, version and count, then the header with its head.
        let mut offset = 12 + 12 + 44;
        for (section, bytes) in lengths(self.power).into_iter().take_while(|(section, _)| *section <= BETA_G2)
        {
            offset += 12;
            let end = offset + bytes;
            while offset < end {
                self.steps.next()?;
                let length = (end - offset).min(1 << 20);
                let mut piece = vec![0; usize::try_from(length).map_err(io::Error::other)?];
                self.file.read_exact_at(&mut piece, offset)?;
                match section {
                    TAU_G2 | BETA_G2 => hash_written::<_, G2Affine>(&mut hasher, &piece),
                    _ => hash_written::<_, G1Affine>(&mut hasher, &piece),
                }
                offset += length;
            }
        }
        Ok(hasher.finish())
    }

    /// Writes the powers of tau times a factor, and returns the first of them.
    fn powers_g1(
        &mut self,
        section: u32,
        factor: &Fr,
        tau: &Fr,
        count: usize,
    ) -> Result<Vec<G1Affine>, PowersError> {
        self.point_section(section)?;
        let mut first = Vec::new();
        for start in (0..count).step_by(CHUNK) {
            let values = powers(factor, tau, start, CHUNK.min(count - start));
            let points = multiples(&self.g1, &values, self.steps)?;
            self.response.short_points(&points);
            write_points(&mut self.out, &points)?;
            if start == 0 {
                first = points.into_iter().take(2).collect();
            }
        }
        Ok(first)
    }

    fn powers_g2(
        &mut self,
        section: u32,
        factor: &Fr,
        tau: &Fr,
        count: usize,
    ) -> Result<Vec<G2Affine>, PowersError> {
        self.point_section(section)?;
        let mut first = Vec::new();
        for start in (0..count).step_by(CHUNK) {
            let values = powers(factor, tau, start, CHUNK.min(count - start));
            let points = multiples(&self.g2, &values, self.steps)?;
            self.response.short_points(&points);
            write_points(&mut self.out, &points)?;
            if start == 0 {
                first = points.into_iter().take(2).collect();
            }
        }
        Ok(first)
    }

    fn lagrange_g1(&mut self, section: u32, factor: &Fr, tau: &Fr, last: u32) -> Result<(), PowersError> {
        self.point_section(section)?;
        for power in 0..=last {
            for values in lagrange(power, tau)?.chunks_mut(CHUNK) {
                for value in &mut *values {
                    *value *= factor;
                }
                write_points(&mut self.out, &multiples(&self.g1, values, self.steps)?)?;
            }
        }
        Ok(())
    }

    fn lagrange_g2(&mut self, section: u32, tau: &Fr) -> Result<(), PowersError> {
        self.point_section(section)?;
        for power in 0..=self.power {
            for values in lagrange(power, tau)?.chunks(CHUNK) {
                write_points(&mut self.out, &multiples(&self.g2, values, self.steps)?)?;
            }
        }
        Ok(())
    }
}

fn lagrange(power: u32, tau: &Fr) -> Result<Zeroizing<Vec<Fr>>, PowersError> {
    lagrange_values(1 << power, tau).ok_or(PowersError::Power { power, max: MAX_NEW_POWER })
}

/// The powers of tau from an exponent on, times a factor.
fn powers(factor: &Fr, tau: &Fr, start: usize, count: usize) -> Zeroizing<Vec<Fr>> {
    let mut values = Zeroizing::new(vec![Fr::one(); count]);
    values.par_chunks_mut(TASK_VALUES).enumerate().for_each(|(task, values)| {
        let exponent = (start + task * TASK_VALUES) as u64;
        let mut power = Zeroizing::new(tau.pow([exponent]) * factor);
        for value in values {
            *value = *power;
            *power *= tau;
        }
    });
    values
}

/// All multiples, or none.
fn multiples<T: ScalarMul>(
    table: &BatchMulPreprocessing<T>,
    values: &[T::ScalarField],
    steps: Steps<'_>,
) -> Result<Vec<T::MulBase>, PowersError> {
    let points = batch_mul(table, values, steps);
    // Points were left out.
    steps.next()?;
    Ok(points)
}

fn write_points<const N: usize, P: PointBytes<N>>(out: &mut impl Write, points: &[P]) -> io::Result<()> {
    points.iter().try_for_each(|point| out.write_all(&point.to_bytes()))
}

/// Hashes points that this module has written.
fn hash_written<const N: usize, P: PointBytes<N> + TranscriptPoint<N>>(hasher: &mut Blake2b, bytes: &[u8]) {
    for point in bytes.as_chunks().0.iter().filter_map(P::from_bytes) {
        hasher.points([&point]);
    }
}
